/*
 * Puts a prefix before every value. Change it to what you need.
 * Tombstones are forwarded unchanged; a record with an empty value is rejected with the code `empty`.
 */
#include "sdk/wasmill.h"
#include "sdk/wasmill_json.h"

static wm_bytes prefix;

/* Called once. A text that it returns keeps the pipeline from starting. What it allocates stays. */
const char *wm_init(wm_bytes settings, const wm_bytes *ports, size_t count) {
    (void)ports, (void)count;
    if (!wm_json_text(wm_json_member(settings, WM_TEXT("prefix")), &prefix))
        return "`prefix` is not a text";
    return NULL;
}

/* Called for each record. What it allocates is gone after the call. */
void wm_process(const wm_record *record, wm_out *out) {
    if (wm_is_null(record->value)) {
        wm_forward(out, 0);
        return;
    }
    if (record->value.len == 0) {
        wm_reject(out, WM_TEXT("empty"), WM_TEXT("the value is empty"));
        return;
    }
    wm_buffer text = { 0 };
    wm_add(&text, prefix);
    wm_add(&text, record->value);
    wm_send(out, 0, wm_built(&text));
}
