/*
 * wasmill_test.h: runs a plugin natively, without a host and without WebAssembly.
 *
 * A file of tests includes the plugin's source, and then this header:
 *
 *     #include "mask.c"
 *     #include "wasmill_test.h"
 *
 *     int main(void) {
 *         const char *ports[] = { "main" };
 *         wm_test_init("{}", ports, 1);
 *         wm_test_input input = wm_test_value("{\"email\":\"a@b.c\"}");
 *         wm_test_run(&input, 1);
 *         ...
 *         wm_test_end();
 *     }
 *
 * Compile it with `cc -g -fsanitize=address,undefined`: every block of memory is one of its own, so access beyond it, access after the
 * call, and access to NULL end the test. On wasm32 they go unnoticed.
 */
#ifndef WASMILL_TEST_H
#define WASMILL_TEST_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wasmill.h"

/* --- Memory ----------------------------------------------------------------------------------------------------------------- */

typedef struct wm_test_block {
    struct wm_test_block *next, **before;
} wm_test_block;

/* Blocks of the call, and blocks that `wm_init` has allocated. */
static wm_test_block *wm_test_blocks, *wm_test_kept;

static void wm_test_fail(const char *what) {
    fprintf(stderr, "wasmill_test.h: %s\n", what);
    abort();
}

static void *wm_test_allocate(size_t size) {
    void *at = malloc(size);
    if (!at)
        wm_test_fail("no memory");
    return at;
}

static void wm_test_unlink(wm_test_block *block) {
    *block->before = block->next;
    if (block->next)
        block->next->before = block->before;
}

/* A header of 16 bytes before the block keeps its alignment. */
void *wm_realloc(void *old, size_t old_size, size_t align, size_t size) {
    (void)align;
    wm_test_block *block = wm_test_allocate(sizeof *block + size);
    *block = (wm_test_block){ wm_test_blocks, &wm_test_blocks };
    if (block->next)
        block->next->before = &block->next;
    wm_test_blocks = block;
    if (old) {
        memcpy(block + 1, old, old_size < size ? old_size : size);
        wm_test_block *former = (wm_test_block *)old - 1;
        wm_test_unlink(former);
        free(former);
    }
    return block + 1;
}

static void wm_test_free(wm_test_block **blocks) {
    while (*blocks) {
        wm_test_block *block = *blocks;
        wm_test_unlink(block);
        free(block);
    }
}

static void wm_heap_keep(void) {
    while (wm_test_blocks) {
        wm_test_block *block = wm_test_blocks;
        wm_test_unlink(block);
        *block = (wm_test_block){ wm_test_kept, &wm_test_kept };
        if (block->next)
            block->next->before = &block->next;
        wm_test_kept = block;
    }
}

/* --- The host's functions --------------------------------------------------------------------------------------------------- */

/* What the plugin has logged and counted, a line each: `info: text`, `count masked 3`, `observe seconds 0.5`. */
static char wm_test_lines[1 << 16];

static void wm_test_line(const char *line) {
    size_t used = strlen(wm_test_lines);
    snprintf(wm_test_lines + used, sizeof wm_test_lines - used, "%s\n", line);
}

void wm_host_log(uint32_t level, const uint8_t *at, size_t len) {
    static const char *const levels[] = { "trace", "debug", "info", "warn", "error" };
    char line[1024];
    snprintf(line, sizeof line, "%s: %.*s", levels[level], (int)len, (const char *)at);
    wm_test_line(line);
}

void wm_host_count(const uint8_t *at, size_t len, uint64_t by) {
    char line[128];
    snprintf(line, sizeof line, "count %.*s %llu", (int)len, (const char *)at, (unsigned long long)by);
    wm_test_line(line);
}

void wm_host_observe(const uint8_t *at, size_t len, double value) {
    char line[128];
    snprintf(line, sizeof line, "observe %.*s %g", (int)len, (const char *)at, value);
    wm_test_line(line);
}

/* Whether a line was logged or counted since the last call of wm_test_run or wm_test_init began. */
static inline bool wm_test_said(const char *line) {
    size_t len = strlen(line);
    for (const char *at = wm_test_lines; (at = strstr(at, line)); at++)
        if ((at == wm_test_lines || at[-1] == '\n') && at[len] == '\n')
            return true;
    return false;
}

/* --- Calls ------------------------------------------------------------------------------------------------------------------ */

/* A record to run. */
typedef struct {
    wm_bytes key, value;
    const wm_header *headers;
    int32_t header_count;
    int64_t timestamp; /* -1: none */
    uint32_t attempt;
} wm_test_input;

/* A record with the null key, this value, and no headers. */
static inline wm_test_input wm_test_value(const char *value) {
    return (wm_test_input){ .key = WM_NULL, .value = wm_text(value), .timestamp = -1 };
}

/* What became of a record of the last call. Everything in it is valid until the next call. */
typedef struct {
    const wm_output *outputs; /* with the input's key, value, headers and timestamp where the plugin left them as they were */
    uint32_t count;
    bool is_failed, is_retry;
    wm_bytes code, reason;
    int64_t delay_ms; /* of a retry; -1: none */
} wm_test_result;

static const wm_test_input *wm_test_inputs;
static wm_test_result *wm_test_results;
static size_t wm_test_count;

/* Starts the plugin. Returns its error. */
static inline const char *wm_test_init(const char *settings, const char *const *ports, size_t count) {
    wm_test_lines[0] = 0;
    wm_list *names = wm_alloc(count * sizeof *names);
    for (size_t i = 0; i < count; i++)
        names[i] = (wm_list){ (void *)wm_text(ports[i]).at, (uint32_t)wm_text(ports[i]).len };
    wm_init_call((const uint8_t *)settings, strlen(settings), names, count);
    return wm_result.is_error ? wm_result.lists[0].at : NULL;
}

static void wm_test_add(wm_vector *layout, wm_vector *data, wm_bytes bytes) {
    *(int32_t *)wm_grow(layout, 1, sizeof(int32_t)) = bytes.len;
    if (bytes.len > 0)
        memcpy(wm_grow(data, (uint32_t)bytes.len, 1), bytes.at, (size_t)bytes.len);
}

/* Takes a field of an output, and checks its length as the host does. */
static wm_bytes wm_test_field(const uint8_t **data, const uint8_t *end, int32_t len, int32_t least, wm_bytes same) {
    if (len < least || len > end - *data)
        wm_test_fail("an output has a wrong length");
    return len == -2 ? same : wm_take(data, len);
}

/* Checks what the call returned, as the host does, and splits it into records. */
static void wm_test_read(void) {
    const wm_list *lists = wm_result.lists;
    const uint32_t *counts = lists[0].at, *ports = lists[1].at;
    const int32_t *partitions = lists[2].at, *layout = lists[4].at, *layout_end = layout + lists[4].len;
    const int64_t *timestamps = lists[3].at;
    const uint8_t *data = lists[5].at, *data_end = data + lists[5].len;
    const wm_failed *failed = lists[6].at, *failed_end = failed + lists[6].len;
    uint32_t output = 0;
    if (lists[0].len != wm_test_count)
        wm_test_fail("not one count for each record");
    for (size_t i = 0; i < wm_test_count; i++) {
        const wm_test_input *input = &wm_test_inputs[i];
        wm_test_result *result = &wm_test_results[i];
        wm_output *outputs = wm_alloc(counts[i] * sizeof *outputs);
        *result = (wm_test_result){ .outputs = outputs, .count = counts[i], .delay_ms = -1 };
        for (uint32_t n = 0; n < counts[i]; n++, output++) {
            if (layout_end - layout < 3)
                wm_test_fail("the layout ends inside an output");
            wm_output *to = &outputs[n];
            *to = (wm_output){ .port = output < lists[1].len ? ports[output] : 0,
                               .partition = output < lists[2].len ? partitions[output] : -1,
                               .timestamp = output < lists[3].len ? timestamps[output] : -1 };
            to->timestamp = to->timestamp == -1 ? input->timestamp : to->timestamp;
            to->key = wm_test_field(&data, data_end, *layout++, -2, input->key);
            to->value = wm_test_field(&data, data_end, *layout++, -2, input->value);
            to->header_count = *layout++;
            if (to->header_count == -2) {
                to->headers = input->headers;
                to->header_count = input->header_count;
                continue;
            }
            if (to->header_count < 0 || 2 * (ptrdiff_t)to->header_count > layout_end - layout)
                wm_test_fail("the layout ends inside the headers of an output");
            wm_header *headers = wm_alloc((size_t)to->header_count * sizeof *headers);
            to->headers = headers;
            for (int32_t h = 0; h < to->header_count; h++) {
                headers[h].name = wm_test_field(&data, data_end, *layout++, 0, WM_NULL);
                headers[h].value = wm_test_field(&data, data_end, *layout++, -1, WM_NULL);
            }
        }
        if (failed == failed_end || failed->index != i)
            continue;
        result->is_failed = true;
        result->is_retry = !failed->is_reject;
        if (result->count > 0)
            wm_test_fail("a failed record has outputs");
        wm_list code = { NULL, 0 }, reason = failed->of.retry.reason;
        if (failed->is_reject)
            code = failed->of.reject.code, reason = failed->of.reject.reason;
        else if (failed->of.retry.has_delay)
            result->delay_ms = failed->of.retry.delay_ms;
        result->code = (wm_bytes){ code.at, (int32_t)code.len };
        result->reason = (wm_bytes){ reason.at, (int32_t)reason.len };
        failed++;
    }
    uint32_t n = lists[1].len;
    if (layout != layout_end || data != data_end || failed != failed_end || (n != 0 && n != output) || lists[2].len != n || lists[3].len != n)
        wm_test_fail("columns are left over, or too short");
}

/* Runs records in one call: partition 3 of the topic `topic`, offsets from 0. Returns a result for each. */
static inline const wm_test_result *wm_test_run(const wm_test_input *inputs, size_t count) {
    wm_test_free(&wm_test_blocks);
    wm_test_lines[0] = 0;
    wm_test_inputs = inputs;
    wm_test_count = count;
    wm_test_results = wm_alloc(count * sizeof *wm_test_results);
    int64_t *offsets = wm_alloc(count * sizeof *offsets), *timestamps = wm_alloc(count * sizeof *timestamps);
    uint32_t *attempts = wm_alloc(count * sizeof *attempts);
    wm_vector layout = { 0 }, data = { 0 };
    for (size_t i = 0; i < count; i++) {
        offsets[i] = (int64_t)i;
        timestamps[i] = inputs[i].timestamp;
        attempts[i] = inputs[i].attempt;
        wm_test_add(&layout, &data, inputs[i].key);
        wm_test_add(&layout, &data, inputs[i].value);
        *(int32_t *)wm_grow(&layout, 1, sizeof(int32_t)) = inputs[i].header_count;
        for (int32_t h = 0; h < inputs[i].header_count; h++) {
            wm_test_add(&layout, &data, inputs[i].headers[h].name);
            wm_test_add(&layout, &data, inputs[i].headers[h].value);
        }
    }
    /* Without unused room behind it, so that reading beyond it is noticed. */
    uint8_t *bytes = wm_alloc(data.list.len);
    if (data.list.len > 0)
        memcpy(bytes, data.list.at, data.list.len);
    wm_process_call((const uint8_t *)"topic", 5, 3, offsets, count, timestamps, count, attempts, count, layout.list.at, layout.list.len,
                    bytes, data.list.len);
    wm_test_read();
    return wm_test_results;
}

/* Ends the plugin; wm_test_init starts it again. */
static inline void wm_test_end(void) {
    wm_test_free(&wm_test_blocks);
    wm_test_free(&wm_test_kept);
}

/* Whether bytes are this text. */
static inline bool wm_test_is(wm_bytes bytes, const char *text) { return wm_equal(bytes, wm_text(text)); }

#endif /* WASMILL_TEST_H */
