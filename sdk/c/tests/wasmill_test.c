/* Tests of wasmill.h: a plugin that does what the record's value says, run natively. */
#include "../wasmill.h"

static wm_bytes *ports;
static size_t port_count;

const char *wm_init(wm_bytes settings, const wm_bytes *names, size_t count) {
    if (wm_equal(settings, WM_TEXT("wrong")))
        return "the settings are wrong";
    ports = wm_alloc(count * sizeof *ports);
    port_count = count;
    for (size_t i = 0; i < count; i++)
        ports[i] = wm_copy(names[i]);
    wm_log(WM_INFO, WM_TEXT("started"));
    return NULL;
}

void wm_process(const wm_record *record, wm_out *out) {
    wm_bytes what = record->value;
    if (wm_equal(what, WM_TEXT("forward"))) {
        wm_forward(out, 0);
    } else if (wm_equal(what, WM_TEXT("twice"))) {
        wm_forward(out, 1);
        wm_send(out, 0, WM_NULL);
    } else if (wm_equal(what, WM_TEXT("all"))) {
        wm_buffer text = { 0 };
        wm_add(&text, record->topic);
        wm_add_byte(&text, '/');
        wm_add_number(&text, record->partition);
        wm_add_byte(&text, '/');
        wm_add_number(&text, record->offset);
        wm_add(&text, WM_TEXT(" at "));
        wm_add_number(&text, record->timestamp);
        wm_add(&text, WM_TEXT(" attempt "));
        wm_add_number(&text, record->attempt);
        wm_header headers[] = { { WM_TEXT("a"), WM_TEXT("1") }, { WM_TEXT("b"), WM_NULL } };
        wm_output output = WM_OUTPUT;
        output.port = 2;
        output.key = WM_TEXT("new");
        output.value = wm_built(&text);
        output.headers = headers;
        output.header_count = 2;
        output.timestamp = 0;
        output.partition = 7;
        wm_emit(out, &output);
    } else if (wm_equal(what, WM_TEXT("reject"))) {
        wm_count(WM_TEXT("rejected"), 1);
        wm_forward(out, 2);
        wm_reject(out, WM_TEXT("no-good"), WM_TEXT("it is no good"));
        wm_forward(out, 0);
    } else if (wm_equal(what, WM_TEXT("reject, then retry"))) {
        wm_reject(out, WM_TEXT("no-good"), WM_TEXT("it is no good"));
        wm_retry(out, WM_TEXT("later"), 1500);
    } else if (wm_equal(what, WM_TEXT("retry"))) {
        wm_retry(out, WM_TEXT(""), -1);
    } else if (wm_equal(what, WM_TEXT("count"))) {
        for (int64_t i = 0; i < 60; i++) {
            wm_buffer name = { 0 };
            wm_add(&name, WM_TEXT("n_"));
            wm_add_number(&name, i);
            wm_count(wm_built(&name), 1);
        }
        wm_count(WM_TEXT("most"), UINT64_MAX - 1);
        wm_count(WM_TEXT("most"), 7);
        wm_observe(WM_TEXT("seconds"), 0.5);
    } else if (wm_equal(what, WM_TEXT("header"))) {
        wm_bytes value = WM_TEXT("none");
        wm_header_find(record, WM_TEXT("h"), &value);
        wm_send(out, 0, value);
    } else if (wm_equal(what, WM_TEXT("port"))) {
        wm_send(out, 0, ports[port_count - 1]);
    }
}

#include "../wasmill_test.h"

#define CHECK(condition) \
    do { \
        if (!(condition)) { \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            exit(1); \
        } \
    } while (0)

static const char *const NAMES[] = { "main", "audit", "else" };

static wm_test_result run(const char *value) {
    wm_test_input input = wm_test_value(value);
    return wm_test_run(&input, 1)[0];
}

static void outputs(void) {
    wm_test_result result = run("forward");
    CHECK(result.count == 1 && wm_test_is(result.outputs[0].value, "forward") && result.outputs[0].port == 0);
    CHECK(wm_is_null(result.outputs[0].key) && result.outputs[0].timestamp == -1 && result.outputs[0].partition == -1);

    result = run("twice");
    CHECK(result.count == 2 && result.outputs[0].port == 1 && wm_test_is(result.outputs[0].value, "twice"));
    CHECK(result.outputs[1].port == 0 && wm_is_null(result.outputs[1].value));

    result = run("all");
    CHECK(result.count == 1 && wm_test_is(result.outputs[0].value, "topic/3/0 at -1 attempt 0"));
    CHECK(result.outputs[0].port == 2 && result.outputs[0].timestamp == 0 && result.outputs[0].partition == 7);
    CHECK(wm_test_is(result.outputs[0].key, "new") && result.outputs[0].header_count == 2);
    CHECK(wm_test_is(result.outputs[0].headers[0].value, "1") && wm_is_null(result.outputs[0].headers[1].value));

    CHECK(run("nothing").count == 0 && !run("nothing").is_failed);
    CHECK(wm_test_is(run("port").outputs[0].value, "else"));
}

static void headers(void) {
    wm_header all[] = { { WM_TEXT("h"), WM_TEXT("first") }, { WM_TEXT("h"), WM_NULL }, { WM_TEXT("i"), WM_TEXT("") } };
    wm_test_input input = wm_test_value("header");
    CHECK(wm_test_is(wm_test_run(&input, 1)[0].outputs[0].value, "none"));
    input.headers = all;
    input.header_count = 1;
    CHECK(wm_test_is(wm_test_run(&input, 1)[0].outputs[0].value, "first"));
    input.header_count = 3;
    CHECK(wm_is_null(wm_test_run(&input, 1)[0].outputs[0].value));
    CHECK(wm_test_run(&input, 1)[0].outputs[0].header_count == 3);
    /* The record behind one with headers is read from the right place. */
    wm_test_input inputs[] = { input, wm_test_value("forward") };
    CHECK(wm_test_is(wm_test_run(inputs, 2)[1].outputs[0].value, "forward"));
}

static void failures(void) {
    /* A failed record among others takes back only its own outputs, also in columns that it began. */
    wm_test_input inputs[] = { wm_test_value("forward"), wm_test_value("reject"), wm_test_value("forward"), wm_test_value("twice"),
                               wm_test_value("reject"), wm_test_value("retry"), wm_test_value("reject, then retry") };
    const wm_test_result *results = wm_test_run(inputs, 7);
    CHECK(results[0].count == 1 && results[2].count == 1 && results[3].count == 2);
    CHECK(results[2].outputs[0].port == 0 && results[3].outputs[0].port == 1);
    CHECK(results[1].is_failed && !results[1].is_retry && wm_test_is(results[1].code, "no-good"));
    CHECK(wm_test_is(results[1].reason, "it is no good") && results[4].is_failed && !results[3].is_failed);
    CHECK(results[5].is_retry && results[5].delay_ms == -1 && results[5].reason.len == 0);
    CHECK(results[6].is_retry && results[6].delay_ms == 1500 && wm_test_is(results[6].reason, "later"));
    CHECK(wm_test_said("count rejected 2"));
}

static void log_and_metrics(void) {
    CHECK(wm_test_said("info: started"));
    run("count");
    CHECK(wm_test_said("count n_0 1") && wm_test_said("count n_59 1") && wm_test_said("observe seconds 0.5"));
    CHECK(wm_test_said("count most 18446744073709551615"));
    run("forward");
    CHECK(!wm_test_said("count n_0 1"));
}

int main(void) {
    CHECK(strcmp(wm_test_init("wrong", NAMES, 3), "the settings are wrong") == 0);
    wm_test_end();
    CHECK(wm_test_init("{}", NAMES, 3) == NULL);
    log_and_metrics();
    outputs();
    headers();
    failures();
    wm_test_end();
    puts("wasmill.h: ok");
    return 0;
}
