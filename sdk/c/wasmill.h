/*
 * wasmill.h: a plugin of wasmill in C, without a C library.
 *
 * It implements the world `transform-batch` of the contract `wasmill:plugin@1.0.0`: it takes the host's columns apart, calls
 * `wm_process` for each record, and puts the outputs into columns. Imports appear in the plugin only if it calls `wm_log`,
 * `wm_count` or `wm_observe`. A plugin defines two functions:
 *
 *     const char *wm_init(wm_bytes settings, const wm_bytes *ports, size_t count);
 *     void wm_process(const wm_record *record, wm_out *out);
 *
 * Compile it for wasm32, with clang and lld:
 *
 *     clang-19 --target=wasm32 -O2 -g0 -mbulk-memory -nostdlib \
 *         -Wl,--no-entry,--stack-first,-z,stack-size=65536 plugin.c -o plugin.wasm
 *
 * One file of a plugin includes this header as it is. Other files define WM_PART before they include it, and get declarations
 * only. Other targets than wasm32 are for tests: see wasmill_test.h.
 *
 * Memory: `wm_alloc` takes it from a heap that is empty again after every call of the host, so nothing is freed. What `wm_init`
 * allocates stays. Memory is a cache, never state: the host may replace an instance between any two calls.
 */
#ifndef WASMILL_H
#define WASMILL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* --- Bytes ------------------------------------------------------------------------------------------------------------------ */

/* A key, a value, a name or a text: not terminated by a zero. The length -1 is null, which differs from empty. */
typedef struct {
    const uint8_t *at;
    int32_t len;
} wm_bytes;

/* Null: a value that is null is a tombstone. */
#define WM_NULL ((wm_bytes){ NULL, -1 })
/* In an output: as in the input record. Nothing is copied. */
#define WM_SAME ((wm_bytes){ NULL, -2 })
/* A string literal. */
#define WM_TEXT(literal) ((wm_bytes){ (const uint8_t *)(literal), (int32_t)(sizeof(literal) - 1) })

static inline bool wm_is_null(wm_bytes bytes) { return bytes.len < 0; }

/* Null equals null only. */
static inline bool wm_equal(wm_bytes a, wm_bytes b) {
    if (a.len != b.len)
        return false;
    for (int32_t i = 0; i < a.len; i++)
        if (a.at[i] != b.at[i])
            return false;
    return true;
}

/* A text that ends with a zero, as bytes. */
static inline wm_bytes wm_text(const char *text) {
    wm_bytes bytes = { (const uint8_t *)text, 0 };
    while (text[bytes.len])
        bytes.len++;
    return bytes;
}

/* --- Memory ----------------------------------------------------------------------------------------------------------------- */

/* The host allocates with it, too. It never returns NULL: without memory the call ends with a trap. */
void *wm_realloc(void *old, size_t old_size, size_t align, size_t size);

/* Memory until the end of the call, and for good in `wm_init`. It isn't cleared. */
static inline void *wm_alloc(size_t size) { return wm_realloc(NULL, 0, 16, size); }

static inline wm_bytes wm_copy(wm_bytes bytes) {
    if (bytes.len <= 0)
        return bytes;
    uint8_t *at = wm_alloc((size_t)bytes.len);
    __builtin_memcpy(at, bytes.at, (size_t)bytes.len);
    return (wm_bytes){ at, bytes.len };
}

/* A list of the canonical ABI, and a list that grows. */
typedef struct {
    void *at;
    uint32_t len;
} wm_list;
typedef struct {
    wm_list list;
    uint32_t room;
} wm_vector;

/* Room for `more` further items of `size` bytes. */
static inline void *wm_grow(wm_vector *vector, uint32_t more, size_t size) {
    uint32_t len = vector->list.len;
    if (more > vector->room - len) {
        uint32_t room = vector->room * 2 + more + 16;
        vector->list.at = wm_realloc(vector->list.at, vector->room * size, 8, room * size);
        vector->room = room;
    }
    vector->list.len = len + more;
    return (uint8_t *)vector->list.at + len * size;
}

/* A text that is put together piece by piece. Begin with `wm_buffer text = { 0 };`. */
typedef struct {
    wm_vector bytes;
} wm_buffer;

static inline void wm_add(wm_buffer *buffer, wm_bytes bytes) {
    if (bytes.len > 0)
        __builtin_memcpy(wm_grow(&buffer->bytes, (uint32_t)bytes.len, 1), bytes.at, (size_t)bytes.len);
}

static inline void wm_add_byte(wm_buffer *buffer, uint8_t byte) { *(uint8_t *)wm_grow(&buffer->bytes, 1, 1) = byte; }

static inline void wm_add_number(wm_buffer *buffer, int64_t number) {
    uint8_t digits[20];
    int32_t at = sizeof digits;
    uint64_t left = number < 0 ? 0 - (uint64_t)number : (uint64_t)number;
    do
        digits[--at] = (uint8_t)('0' + left % 10);
    while (left /= 10);
    if (number < 0)
        digits[--at] = '-';
    wm_add(buffer, (wm_bytes){ digits + at, (int32_t)sizeof digits - at });
}

static inline wm_bytes wm_built(const wm_buffer *buffer) {
    return (wm_bytes){ buffer->bytes.list.at, (int32_t)buffer->bytes.list.len };
}

/* --- Records ---------------------------------------------------------------------------------------------------------------- */

/* A header. Names may repeat and need not be UTF-8, values may be null. */
typedef struct {
    wm_bytes name, value;
} wm_header;

/* A record. All of its bytes are valid until the end of the call. */
typedef struct {
    wm_bytes topic;
    uint32_t partition;
    uint32_t attempt; /* how often it was tried before: 0 the first time */
    int64_t offset;
    int64_t timestamp; /* milliseconds since 1970-01-01 UTC; -1: none */
    wm_bytes key, value;
    int32_t header_count;
    const int32_t *header_lengths; /* two for each header; read them with wm_headers_next or wm_header_find */
    const uint8_t *header_data;
} wm_record;

/* The headers that are left to read. */
typedef struct {
    int32_t left;
    const int32_t *lengths;
    const uint8_t *data;
} wm_headers;

static inline wm_headers wm_headers_of(const wm_record *record) {
    return (wm_headers){ record->header_count, record->header_lengths, record->header_data };
}

/* The bytes of this length at `data`, which is moved behind them. */
static inline wm_bytes wm_take(const uint8_t **data, int32_t len) {
    wm_bytes bytes = { *data, len };
    if (len > 0)
        *data += len;
    return bytes;
}

/* Reads the next header; false if there is none. */
static inline bool wm_headers_next(wm_headers *headers, wm_header *header) {
    if (headers->left <= 0)
        return false;
    header->name = wm_take(&headers->data, headers->lengths[0]);
    header->value = wm_take(&headers->data, headers->lengths[1]);
    headers->lengths += 2;
    headers->left--;
    return true;
}

/* Finds the last header of this name, the one that counts if names repeat. `value` may be NULL. */
static inline bool wm_header_find(const wm_record *record, wm_bytes name, wm_bytes *value) {
    wm_headers headers = wm_headers_of(record);
    wm_header header;
    bool found = false;
    while (wm_headers_next(&headers, &header))
        if (wm_equal(header.name, name)) {
            found = true;
            if (value)
                *value = header.value;
        }
    return found;
}

/* --- Outputs ---------------------------------------------------------------------------------------------------------------- */

/* Collects the outputs of the records of a call. */
typedef struct {
    uint32_t outputs;
    wm_vector ports, partitions, timestamps; /* empty as long as all entries are the default */
    wm_vector layout, data, failures;
    uint32_t index; /* of the record */
    bool failed;
} wm_out;

/* An output. Begin with WM_OUTPUT, which is the record as it came, and set what differs. */
typedef struct {
    uint32_t port;              /* index into the ports of wm_init; 0 is `main` */
    wm_bytes key, value;        /* WM_SAME, WM_NULL or bytes */
    const wm_header *headers;
    int32_t header_count;       /* -2: the headers as in the input record */
    int64_t timestamp;          /* -1: as in the input record */
    int32_t partition;          /* -1: the output's partitioner chooses */
} wm_output;

#define WM_OUTPUT ((wm_output){ .key = WM_SAME, .value = WM_SAME, .header_count = -2, .timestamp = -1, .partition = -1 })

/* Out of line: most outputs go to `main`, with partition and timestamp left to the host. */
__attribute__((noinline)) static void wm_emit_elsewhere(wm_out *out, const wm_output *output) {
    uint32_t missing = out->outputs - out->ports.list.len;
    uint32_t *ports = wm_grow(&out->ports, missing + 1, sizeof *ports);
    int32_t *partitions = wm_grow(&out->partitions, missing + 1, sizeof *partitions);
    int64_t *timestamps = wm_grow(&out->timestamps, missing + 1, sizeof *timestamps);
    for (uint32_t i = 0; i < missing; i++) {
        ports[i] = 0;
        partitions[i] = -1;
        timestamps[i] = -1;
    }
    ports[missing] = output->port;
    partitions[missing] = output->partition;
    timestamps[missing] = output->timestamp;
}

static inline void wm_add_field(wm_out *out, wm_bytes bytes) {
    *(int32_t *)wm_grow(&out->layout, 1, sizeof(int32_t)) = bytes.len;
    if (bytes.len > 0)
        __builtin_memcpy(wm_grow(&out->data, (uint32_t)bytes.len, 1), bytes.at, (size_t)bytes.len);
}

/* Emits an output. Its bytes are copied. */
static inline void wm_emit(wm_out *out, const wm_output *output) {
    if (out->ports.list.len > 0 || output->port != 0 || output->partition != -1 || output->timestamp != -1)
        wm_emit_elsewhere(out, output);
    out->outputs++;
    wm_add_field(out, output->key);
    wm_add_field(out, output->value);
    *(int32_t *)wm_grow(&out->layout, 1, sizeof(int32_t)) = output->header_count;
    for (int32_t i = 0; i < output->header_count; i++) {
        wm_add_field(out, output->headers[i].name);
        wm_add_field(out, output->headers[i].value);
    }
}

/* Emits the record with another value; WM_NULL makes a tombstone of it. */
static inline void wm_send(wm_out *out, uint32_t port, wm_bytes value) {
    wm_output output = WM_OUTPUT;
    output.port = port;
    output.value = value;
    wm_emit(out, &output);
}

/* Emits the record as it came. A record that emits nothing is dropped, which is a success. */
static inline void wm_forward(wm_out *out, uint32_t port) { wm_send(out, port, WM_SAME); }

/* --- Failures --------------------------------------------------------------------------------------------------------------- */

/* A failed record, as the canonical ABI has it. */
typedef struct {
    uint32_t index;
    uint8_t is_reject;
    union {
        struct {
            uint8_t has_delay;
            uint32_t delay_ms;
            wm_list reason;
        } retry;
        struct {
            wm_list code, reason;
        } reject;
    } of;
} wm_failed;

static inline wm_failed *wm_fail(wm_out *out) {
    wm_failed *failed;
    if (out->failed) /* the last call counts */
        failed = (wm_failed *)out->failures.list.at + (out->failures.list.len - 1);
    else
        failed = wm_grow(&out->failures, 1, sizeof *failed);
    *failed = (wm_failed){ .index = out->index };
    out->failed = true;
    return failed;
}

static inline wm_list wm_list_of(wm_bytes bytes) {
    bytes = wm_copy(bytes);
    return (wm_list){ (void *)bytes.at, bytes.len > 0 ? (uint32_t)bytes.len : 0 };
}

/*
 * The record can't succeed: the pipeline stops, skips it or writes a dead letter. `code` is short and stable, `[a-z0-9-]{1,64}`;
 * `reason` is UTF-8, for people. What the record emits is taken back, also what it emits afterwards.
 */
static inline void wm_reject(wm_out *out, wm_bytes code, wm_bytes reason) {
    wm_list copied_code = wm_list_of(code), copied_reason = wm_list_of(reason);
    wm_failed *failed = wm_fail(out);
    failed->is_reject = 1;
    failed->of.reject.code = copied_code;
    failed->of.reject.reason = copied_reason;
}

/* The record may succeed later, after at least `delay_ms` milliseconds; -1 leaves the wait to the pipeline. */
static inline void wm_retry(wm_out *out, wm_bytes reason, int64_t delay_ms) {
    wm_list copied_reason = wm_list_of(reason);
    wm_failed *failed = wm_fail(out);
    failed->of.retry.has_delay = delay_ms >= 0;
    failed->of.retry.delay_ms = delay_ms < 0 ? 0 : delay_ms > UINT32_MAX ? UINT32_MAX : (uint32_t)delay_ms;
    failed->of.retry.reason = copied_reason;
}

/* --- The host's log and metrics --------------------------------------------------------------------------------------------- */

#ifdef __wasm__
#define WM_IMPORT(interface, function) \
    __attribute__((import_module("wasmill:plugin/" interface "@1.0.0"), import_name(function)))
#define WM_EXPORT(name) __attribute__((export_name(name), used))
#else
#define WM_IMPORT(interface, function)
#define WM_EXPORT(name)
#endif

/* In tests, wasmill_test.h defines these. */
WM_IMPORT("log", "write") void wm_host_log(uint32_t level, const uint8_t *at, size_t len);
WM_IMPORT("metrics", "count") void wm_host_count(const uint8_t *at, size_t len, uint64_t by);
WM_IMPORT("metrics", "observe") void wm_host_observe(const uint8_t *at, size_t len, double value);

typedef enum { WM_TRACE, WM_DEBUG, WM_INFO, WM_WARN, WM_ERROR } wm_level;

/* A line of the host's log, in UTF-8. It is kept even if the call traps later. Each line is a call to the host. */
static inline void wm_log(wm_level level, wm_bytes line) {
    wm_host_log((uint32_t)level, line.at, line.len > 0 ? (size_t)line.len : 0);
}

/*
 * Adds to the counter `wasmill_plugin_custom_total{name=NAME}`; the name is `[a-z0-9_]{1,64}`. The sums are passed to the host once
 * a call. They don't count if the call traps; what a failed record counted does.
 */
void wm_count(wm_bytes name, uint64_t by);

/* Adds a value to the histogram `wasmill_plugin_custom{name=NAME}`. Each value is a call to the host. */
static inline void wm_observe(wm_bytes name, double value) { wm_host_observe(name.at, (size_t)name.len, value); }

/* --- The plugin ------------------------------------------------------------------------------------------------------------- */

/*
 * Yours: called once, first. `settings` is the step's settings, a JSON object; `ports` are the names of the pipeline's outputs, `main`
 * first. Returns NULL, or a text that says what is wrong: then the pipeline doesn't start.
 */
const char *wm_init(wm_bytes settings, const wm_bytes *ports, size_t count);

/* Yours: called for each record, in the order of the offsets. */
void wm_process(const wm_record *record, wm_out *out);

#ifndef WM_PART

#define WM_HANDLER "wasmill:plugin/batch-handler@1.0.0#"
#define WM_COUNTERS 50 /* the host has no more names for a step */

static struct {
    wm_bytes name;
    uint64_t sum;
} wm_counters[WM_COUNTERS];
static uint32_t wm_counters_used;
/*
 * NULL in a plugin that counts nothing, and then the linker drops wm_count and the import `metrics`. Not static: the compiler would see
 * all of its values, call the function directly, and keep the import.
 */
extern void (*wm_report)(void);
void (*wm_report)(void);

static void wm_report_counters(void) {
    for (uint32_t i = 0; i < wm_counters_used; i++)
        wm_host_count(wm_counters[i].name.at, (size_t)wm_counters[i].name.len, wm_counters[i].sum);
    wm_counters_used = 0;
}

void wm_count(wm_bytes name, uint64_t by) {
    wm_report = wm_report_counters;
    for (uint32_t i = 0; i < wm_counters_used; i++)
        if (wm_equal(wm_counters[i].name, name)) {
            uint64_t sum = wm_counters[i].sum + by;
            wm_counters[i].sum = sum < by ? UINT64_MAX : sum;
            return;
        }
    if (wm_counters_used == WM_COUNTERS)
        wm_report_counters();
    wm_counters[wm_counters_used].name = wm_copy(name);
    wm_counters[wm_counters_used++].sum = by;
}

#ifdef __wasm__
extern uint8_t __heap_base;
static uintptr_t wm_heap;      /* the first free byte */
static uintptr_t wm_heap_base; /* where the heap begins: behind what `wm_init` allocated */

WM_EXPORT("cabi_realloc")
void *wm_realloc(void *old, size_t old_size, size_t align, size_t size) {
    if (!wm_heap)
        wm_heap = wm_heap_base = (uintptr_t)&__heap_base;
    /* The last block grows in place. */
    bool is_last = old && (uintptr_t)old + old_size == wm_heap;
    uintptr_t at = is_last ? (uintptr_t)old : (wm_heap + align - 1) & ~(uintptr_t)(align - 1);
    uintptr_t end = at + size;
    uintptr_t have = (uintptr_t)__builtin_wasm_memory_size(0) << 16;
    if (at < wm_heap - (is_last ? old_size : 0) || end < at)
        __builtin_trap();
    if (end > have) {
        size_t pages = (end - have + 65535) >> 16;
        /* A quarter more than is needed, if the step's limit of memory allows it. */
        if (__builtin_wasm_memory_grow(0, pages + (have >> 18)) == (size_t)-1 && __builtin_wasm_memory_grow(0, pages) == (size_t)-1)
            __builtin_trap();
    }
    wm_heap = end;
    if (old && !is_last)
        __builtin_memcpy((void *)at, old, old_size < size ? old_size : size);
    return (void *)at;
}

static void wm_heap_keep(void) { wm_heap_base = wm_heap; }
static void wm_heap_reset(void) { wm_heap = wm_heap_base; }
#else
/* In tests, wasmill_test.h defines these. */
static void wm_heap_keep(void);
#endif

/* What a function returns: whether it is an error, then the lists. */
static struct {
    uint8_t is_error;
    wm_list lists[7];
} wm_result;

WM_EXPORT(WM_HANDLER "init")
void *wm_init_call(const uint8_t *settings, size_t settings_len, const wm_list *ports, size_t count) {
    wm_bytes *names = wm_alloc(count * sizeof *names);
    for (size_t i = 0; i < count; i++)
        names[i] = (wm_bytes){ ports[i].at, (int32_t)ports[i].len };
    const char *error = wm_init((wm_bytes){ settings, (int32_t)settings_len }, names, count);
    wm_heap_keep();
    wm_result.is_error = error != NULL;
    if (error) {
        wm_bytes text = wm_text(error);
        wm_result.lists[0] = (wm_list){ (void *)text.at, (uint32_t)text.len };
    }
    return &wm_result;
}

WM_EXPORT(WM_HANDLER "process")
void *wm_process_call(const uint8_t *topic, size_t topic_len, uint32_t partition, const int64_t *offsets, size_t count,
                      const int64_t *timestamps, size_t timestamps_len, const uint32_t *attempts, size_t attempts_len,
                      const int32_t *layout, size_t layout_len, const uint8_t *data, size_t data_len) {
    /* The host never passes columns that don't match each other. */
    (void)timestamps_len, (void)attempts_len, (void)layout_len;
    wm_out out = { 0 };
    uint32_t *counts = wm_alloc(count * sizeof *counts);
    wm_grow(&out.layout, (uint32_t)layout_len, sizeof(int32_t));
    wm_grow(&out.data, (uint32_t)data_len + 1024, 1);
    out.layout.list.len = out.data.list.len = 0;
    for (size_t i = 0; i < count; i++) {
        wm_record record = { .topic = { topic, (int32_t)topic_len }, .partition = partition, .attempt = attempts[i],
                             .offset = offsets[i], .timestamp = timestamps[i] };
        record.key = wm_take(&data, layout[0]);
        record.value = wm_take(&data, layout[1]);
        record.header_count = layout[2];
        record.header_lengths = layout += 3;
        record.header_data = data;
        for (int32_t n = 2 * record.header_count; n > 0; n--, layout++)
            if (*layout > 0)
                data += *layout;

        uint32_t outputs = out.outputs, lengths = out.layout.list.len, bytes = out.data.list.len;
        out.index = (uint32_t)i;
        out.failed = false;
        wm_process(&record, &out);
        if (out.failed) {
            out.outputs = outputs;
            if (out.ports.list.len > outputs)
                out.ports.list.len = out.partitions.list.len = out.timestamps.list.len = outputs;
            out.layout.list.len = lengths;
            out.data.list.len = bytes;
        }
        counts[i] = out.outputs - outputs;
    }
    if (wm_report)
        wm_report();
    wm_result.is_error = 0;
    wm_result.lists[0] = (wm_list){ counts, (uint32_t)count };
    wm_result.lists[1] = out.ports.list;
    wm_result.lists[2] = out.partitions.list;
    wm_result.lists[3] = out.timestamps.list;
    wm_result.lists[4] = out.layout.list;
    wm_result.lists[5] = out.data.list;
    wm_result.lists[6] = out.failures.list;
    return &wm_result;
}

#ifdef __wasm__
_Static_assert(sizeof(wm_failed) == 24 && sizeof wm_result == 60, "the canonical ABI's layout");

/* The host has read the result. */
WM_EXPORT("cabi_post_" WM_HANDLER "process")
void wm_process_end(void *result) {
    (void)result;
    wm_heap_reset();
}
#endif

#endif /* WM_PART */
#endif /* WASMILL_H */
