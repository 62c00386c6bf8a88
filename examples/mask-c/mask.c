/*
 * Hides members of JSON objects: those of the outermost object that the setting `fields` names, `email`, `phone` and `name` by default.
 *
 * Everything else stays byte for byte. Tombstones are forwarded. A value that isn't JSON is rejected with the code `bad-json`, so that
 * personal data can't pass unmasked. Records with a header `audit` are also sent unmasked to the port `audit`, if the pipeline has it.
 */
#include "wasmill.h"
#include "wasmill_json.h"

static wm_bytes *fields;
static size_t field_count;
/* The number of the port; -1: the pipeline has none. */
static int64_t audit;

static void add_field(wm_bytes name) {
    wm_bytes *more = wm_alloc((field_count + 1) * sizeof *more);
    if (field_count > 0)
        __builtin_memcpy(more, fields, field_count * sizeof *more);
    more[field_count++] = name;
    fields = more;
}

const char *wm_init(wm_bytes settings, const wm_bytes *ports, size_t count) {
    audit = -1;
    field_count = 0;
    for (size_t i = 0; i < count; i++)
        if (wm_equal(ports[i], WM_TEXT("audit")))
            audit = (int64_t)i;

    wm_bytes list = wm_json_member(settings, WM_TEXT("fields"));
    if (wm_is_null(list)) {
        add_field(WM_TEXT("email"));
        add_field(WM_TEXT("phone"));
        add_field(WM_TEXT("name"));
        return NULL;
    }
    if (list.at[0] != '[')
        return "`fields` is not a list";
    wm_bytes item, name;
    while (wm_json_next(&list, &item)) {
        if (!wm_json_text(item, &name))
            return "`fields` has an item that is not a text";
        add_field(name);
    }
    return NULL;
}

static wm_bytes hide(void *context, wm_bytes name, wm_bytes value) {
    (void)context, (void)value;
    for (size_t i = 0; i < field_count; i++)
        if (wm_equal(fields[i], name))
            return WM_TEXT("\"***\"");
    return WM_SAME;
}

void wm_process(const wm_record *record, wm_out *out) {
    if (audit >= 0 && wm_header_find(record, WM_TEXT("audit"), NULL))
        wm_forward(out, (uint32_t)audit);
    if (wm_is_null(record->value)) {
        wm_forward(out, 0);
        return;
    }
    wm_json_result masked = wm_json_splice(record->value, hide, NULL);
    if (masked.error)
        wm_json_reject(out, masked);
    else
        wm_send(out, 0, masked.text);
}
