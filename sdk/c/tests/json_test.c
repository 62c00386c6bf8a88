/* Tests of wasmill_json.h, run natively. */
#include "../wasmill.h"
#include "../wasmill_json.h"

const char *wm_init(wm_bytes settings, const wm_bytes *ports, size_t count) {
    (void)settings, (void)ports, (void)count;
    return NULL;
}

static wm_bytes hide(void *context, wm_bytes name, wm_bytes value) {
    (void)context, (void)value;
    if (wm_equal(name, WM_TEXT("a")) || wm_equal(name, WM_TEXT("b\n")) || wm_equal(name, WM_TEXT("c\0")) || wm_equal(name, WM_TEXT("\xf0\x9f\x98\x80")))
        return WM_TEXT("null");
    return wm_equal(name, WM_TEXT("longer")) ? WM_TEXT("\"a text that is much longer than the value that it replaces\"") : WM_SAME;
}

void wm_process(const wm_record *record, wm_out *out) {
    wm_json_result result = wm_json_splice(record->value, hide, NULL);
    if (result.error)
        wm_json_reject(out, result);
    else
        wm_send(out, 0, result.text);
}

#include "../wasmill_test.h"

static int failed;

static void check(const char *document, const char *expected) {
    wm_test_input input = wm_test_value(document);
    const wm_test_result *result = wm_test_run(&input, 1);
    wm_bytes text = result->is_failed ? result->reason : result->outputs[0].value;
    if (wm_test_is(text, expected) && (!result->is_failed || wm_test_is(result->code, "bad-json")))
        return;
    fprintf(stderr, "%s became %.*s and not %s\n", document, text.len, (const char *)text.at, expected);
    failed = 1;
}

static void only_the_values_of_named_members_change(void) {
    check("{\"a\":1,\"c\":2}", "{\"a\":null,\"c\":2}");
    check(" { \"c\" : 1.50e3 , \"a\" : {\"a\":[1, 2]} } ", " { \"c\" : 1.50e3 , \"a\" : null } ");
    check("{\"\\u0061\":\"x\",\"b\\n\":true,\"a\":\"}\"}", "{\"\\u0061\":null,\"b\\n\":null,\"a\":null}");
    check("{\"c\\u0000\":1,\"c\":2,\"\\ud83d\\ude00\":3,\"\\ud83d\":4,\"\\ude00\\ud83d\":5}",
          "{\"c\\u0000\":null,\"c\":2,\"\\ud83d\\ude00\":null,\"\\ud83d\":4,\"\\ude00\\ud83d\":5}");
    check("{\"a\":1,\"a\":2}", "{\"a\":null,\"a\":null}");
    check("{\"longer\":0,\"longer\":[]}", "{\"longer\":\"a text that is much longer than the value that it replaces\",\"longer\":\"a text that "
                                          "is much longer than the value that it replaces\"}");
    check("{\"c\":{\"a\":1}}", "{\"c\":{\"a\":1}}");
    check("{\"c\":\"\\ud800 \\u0000 \\/\",\"n\":123456789012345678901234567890}",
          "{\"c\":\"\\ud800 \\u0000 \\/\",\"n\":123456789012345678901234567890}");
    check("[{\"a\":1}]", "[{\"a\":1}]");
    check("\"\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80\"", "\"\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80\"");
    check("{}", "{}");
    check(" { } ", " { } ");
    check("-0.0E-12", "-0.0E-12");
    check("true ", "true ");
    check("[[],{},[{}],{\"x\":[]}]", "[[],{},[{}],{\"x\":[]}]");
}

static void what_is_not_json_is_refused_with_its_place(void) {
    check("", "not JSON: a value is missing, at byte 0");
    check("{", "not JSON: a name is missing, at byte 1");
    check("{\"a\":}", "not JSON: a value is missing, at byte 5");
    check("{\"a\":1,}", "not JSON: a name is missing, at byte 7");
    check("{\"a\":1}x", "not JSON: more than one value, at byte 7");
    check("{a:1}", "not JSON: a name is missing, at byte 1");
    check("{\"a\" 1}", "not JSON: a colon is missing, at byte 5");
    check("{\"a\":nul}", "not JSON: an unknown word, at byte 5");
    check("{\"c\":\"\x01\"}", "not JSON: a control character in a string, at byte 6");
    check("\"\\x\"", "not JSON: an unknown escape, at byte 1");
    check("\"\\u12g4\"", "not JSON: an unknown escape, at byte 1");
    check("\"\\u12", "not JSON: an unknown escape, at byte 1");
    check("\"abc", "not JSON: a string without an end, at byte 4");
    check("01", "not JSON: more than one value, at byte 1");
    check("1.", "not JSON: a digit is missing, at byte 2");
    check("-", "not JSON: a digit is missing, at byte 1");
    check("1e+", "not JSON: a digit is missing, at byte 3");
    check("[1 2]", "not JSON: a comma or the end of an object or list is missing, at byte 3");
    check("[1}", "not JSON: a comma or the end of an object or list is missing, at byte 2");
    check("[1,]", "not JSON: a value is missing, at byte 3");
    check("[", "not JSON: a value is missing, at byte 1");
    check("NaN", "not JSON: a value is missing, at byte 0");
    check("\xef\xbb\xbf{}", "not JSON: a value is missing, at byte 0");
    /* Not UTF-8: cut off, longer than necessary, a surrogate, beyond U+10FFFF. */
    check("\"\xc3\"", "not JSON: bytes that are not UTF-8, at byte 1");
    check("\"\xe2\x82", "not JSON: bytes that are not UTF-8, at byte 1");
    check("\"\xc0\x80\"", "not JSON: bytes that are not UTF-8, at byte 1");
    check("\"\xe0\x9f\xbf\"", "not JSON: bytes that are not UTF-8, at byte 1");
    check("\"\xed\xa0\x80\"", "not JSON: bytes that are not UTF-8, at byte 1");
    check("\"\xf4\x90\x80\x80\"", "not JSON: bytes that are not UTF-8, at byte 1");
    check("\"\x80\"", "not JSON: bytes that are not UTF-8, at byte 1");
}

static void depth(const char *open, const char *close, int levels, bool is_json) {
    char text[1024] = "";
    for (int i = 0; i < levels; i++)
        strcat(text, open);
    strcat(text, "1");
    for (int i = 0; i < levels; i++)
        strcat(text, close);
    char refusal[128];
    snprintf(refusal, sizeof refusal, "not JSON: nested more than 128 deep, at byte %zu", strlen(open) * 128);
    check(text, is_json ? text : refusal);
}

static void settings_are_read(void) {
    wm_bytes settings = WM_TEXT(" {\"fields\" : [ \"a\" , \"\\u00e9\\n\" , 3 ] , \"fields2\":1, \"mode\":\"x\", \"mode\":\"y\"} ");
    wm_bytes list = wm_json_member(settings, WM_TEXT("fields")), item, text;
    if (!wm_json_next(&list, &item) || !wm_json_text(item, &text) || !wm_test_is(text, "a") || !wm_json_next(&list, &item) ||
        !wm_json_text(item, &text) || !wm_test_is(text, "\xc3\xa9\n") || !wm_json_next(&list, &item) || wm_json_text(item, &text) ||
        wm_json_next(&list, &item) || !wm_test_is(wm_json_member(settings, WM_TEXT("mode")), "\"y\"") ||
        !wm_is_null(wm_json_member(settings, WM_TEXT("none"))) || !wm_json_check(WM_NULL).error) {
        fprintf(stderr, "settings are read wrong\n");
        failed = 1;
    }
    wm_bytes empty = WM_TEXT("[ ]"), other = WM_TEXT("17");
    if (wm_json_next(&empty, &item) || wm_json_next(&other, &item)) {
        fprintf(stderr, "an empty list has an item\n");
        failed = 1;
    }
}

int main(void) {
    const char *ports[] = { "main" };
    wm_test_init("{}", ports, 1);
    only_the_values_of_named_members_change();
    what_is_not_json_is_refused_with_its_place();
    depth("[", "]", 128, true);
    depth("[", "]", 129, false);
    depth("{\"b\":", "}", 128, true);
    depth("{\"b\":", "}", 129, false);
    settings_are_read();
    wm_test_end();
    if (!failed)
        puts("wasmill_json.h: ok");
    return failed;
}
