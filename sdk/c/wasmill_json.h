/*
 * wasmill_json.h: JSON for plugins in C, without a tree: check a text, replace members of the outermost object, read members.
 *
 * `wm_json_splice` checks the whole document and copies everything but the replaced values byte for byte: white space, the digits of
 * numbers, the order of names, escapes. It refuses what isn't JSON (RFC 8259), bytes that aren't UTF-8, and objects and lists nested
 * more than 128 deep. It takes names that occur twice (each is replaced), numbers of any length, and escapes of lone surrogates and
 * of zero, which stay as they are.
 *
 * Include wasmill.h first.
 */
#ifndef WASMILL_JSON_H
#define WASMILL_JSON_H

#define WM_JSON_DEPTH 128

/* --- The scanner: each function returns the position behind what it read, or NULL and an error ------------------------------ */

typedef struct {
    const uint8_t *begin, *end;
    const char *error;    /* NULL: none */
    const uint8_t *place; /* of the error */
} wm_json_scan;

static inline const uint8_t *wm_json_fail(wm_json_scan *scan, const uint8_t *at, const char *error) {
    scan->error = error;
    scan->place = at;
    return NULL;
}

/* The byte at a position, and -1 at the end. */
static inline int wm_json_byte(const wm_json_scan *scan, const uint8_t *at) { return at < scan->end ? *at : -1; }

static inline const uint8_t *wm_json_space(const wm_json_scan *scan, const uint8_t *at) {
    while (at < scan->end && (*at == ' ' || *at == '\n' || *at == '\t' || *at == '\r'))
        at++;
    return at;
}

/* The value of a hexadecimal digit; -1 for other bytes. */
static inline int wm_json_hex(int byte) {
    if (byte >= '0' && byte <= '9')
        return byte - '0';
    byte |= 32;
    return byte >= 'a' && byte <= 'f' ? byte - 'a' + 10 : -1;
}

/* The four digits behind `\u`; -1 if they aren't there. */
static inline int32_t wm_json_unit(const wm_json_scan *scan, const uint8_t *at) {
    int32_t unit = 0;
    for (int i = 0; i < 4; i++) {
        int digit = scan->end - at > i ? wm_json_hex(at[i]) : -1;
        if (digit < 0)
            return -1;
        unit = unit << 4 | digit;
    }
    return unit;
}

/* The length of the character of several bytes at `at`; 0 if it isn't UTF-8. */
static inline int wm_json_character(const wm_json_scan *scan, const uint8_t *at) {
    uint8_t first = *at, low = 0x80, high = 0xbf;
    int len = first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
    if (scan->end - at < len)
        return 0;
    if (first == 0xe0)
        low = 0xa0; /* longer than necessary below */
    else if (first == 0xed)
        high = 0x9f; /* surrogates above */
    else if (first == 0xf0)
        low = 0x90;
    else if (first == 0xf4)
        high = 0x8f; /* beyond U+10FFFF above */
    for (int i = 1; i < len; i++, low = 0x80, high = 0xbf)
        if (at[i] < low || at[i] > high)
            return 0;
    return len;
}

/* A string, from its opening quote. */
static inline const uint8_t *wm_json_string(wm_json_scan *scan, const uint8_t *at, bool *has_escapes) {
    *has_escapes = false;
    for (at++; at < scan->end;) {
        uint8_t byte = *at;
        if (byte == '"')
            return at + 1;
        if (byte < 0x20)
            return wm_json_fail(scan, at, "a control character in a string");
        if (byte == '\\') {
            *has_escapes = true;
            int kind = wm_json_byte(scan, at + 1);
            if (kind == 'u' && wm_json_unit(scan, at + 2) >= 0)
                at += 6;
            else if (kind == '"' || kind == '\\' || kind == '/' || kind == 'b' || kind == 'f' || kind == 'n' || kind == 'r' || kind == 't')
                at += 2;
            else
                return wm_json_fail(scan, at, "an unknown escape");
        } else if (byte < 0x80) {
            at++;
        } else {
            int len = wm_json_character(scan, at);
            if (len == 0)
                return wm_json_fail(scan, at, "bytes that are not UTF-8");
            at += len;
        }
    }
    return wm_json_fail(scan, at, "a string without an end");
}

/* At least one digit. */
static inline const uint8_t *wm_json_digits(wm_json_scan *scan, const uint8_t *at) {
    const uint8_t *first = at;
    while (at < scan->end && *at >= '0' && *at <= '9')
        at++;
    return at > first ? at : wm_json_fail(scan, at, "a digit is missing");
}

static inline const uint8_t *wm_json_number(wm_json_scan *scan, const uint8_t *at) {
    if (*at == '-')
        at++;
    at = wm_json_byte(scan, at) == '0' ? at + 1 : wm_json_digits(scan, at);
    if (at && wm_json_byte(scan, at) == '.')
        at = wm_json_digits(scan, at + 1);
    if (at && (wm_json_byte(scan, at) | 32) == 'e') {
        at++;
        if (wm_json_byte(scan, at) == '+' || wm_json_byte(scan, at) == '-')
            at++;
        at = wm_json_digits(scan, at);
    }
    return at;
}

static inline const uint8_t *wm_json_word(wm_json_scan *scan, const uint8_t *at, wm_bytes word) {
    if (scan->end - at >= word.len && wm_equal((wm_bytes){ at, word.len }, word))
        return at + word.len;
    return wm_json_fail(scan, at, "an unknown word");
}

/* A value that is no object and no list. */
static inline const uint8_t *wm_json_plain(wm_json_scan *scan, const uint8_t *at) {
    bool has_escapes;
    switch (wm_json_byte(scan, at)) {
    case '"':
        return wm_json_string(scan, at, &has_escapes);
    case 't':
        return wm_json_word(scan, at, WM_TEXT("true"));
    case 'f':
        return wm_json_word(scan, at, WM_TEXT("false"));
    case 'n':
        return wm_json_word(scan, at, WM_TEXT("null"));
    case '-': case '0': case '1': case '2': case '3': case '4': case '5': case '6': case '7': case '8': case '9':
        return wm_json_number(scan, at);
    default:
        return wm_json_fail(scan, at, "a value is missing");
    }
}

/* The name of a member and its colon. */
static inline const uint8_t *wm_json_name(wm_json_scan *scan, const uint8_t *at, wm_bytes *name, bool *has_escapes) {
    if (wm_json_byte(scan, at) != '"')
        return wm_json_fail(scan, at, "a name is missing");
    const uint8_t *first = at + 1;
    at = wm_json_string(scan, at, has_escapes);
    if (!at)
        return NULL;
    *name = (wm_bytes){ first, (int32_t)(at - 1 - first) };
    at = wm_json_space(scan, at);
    return wm_json_byte(scan, at) == ':' ? wm_json_space(scan, at + 1) : wm_json_fail(scan, at, "a colon is missing");
}

/* Any value, within `depth` others. Without recursion: a bit for each open object or list. */
static inline const uint8_t *wm_json_value(wm_json_scan *scan, const uint8_t *at, uint32_t depth) {
    uint32_t is_object[WM_JSON_DEPTH / 32] = { 0 }, outer = depth;
    wm_bytes name;
    bool has_escapes;
    for (;;) {
        int byte = wm_json_byte(scan, at);
        if (byte == '{' || byte == '[') {
            if (depth == WM_JSON_DEPTH)
                return wm_json_fail(scan, at, "nested more than 128 deep");
            uint32_t bit = (uint32_t)1 << depth % 32;
            if (byte == '{')
                is_object[depth / 32] |= bit;
            else
                is_object[depth / 32] &= ~bit;
            depth++;
            at = wm_json_space(scan, at + 1);
            if (wm_json_byte(scan, at) != (byte == '{' ? '}' : ']')) {
                if (byte == '{' && !(at = wm_json_name(scan, at, &name, &has_escapes)))
                    return NULL;
                continue;
            }
        } else {
            at = wm_json_plain(scan, at);
            if (!at || depth == outer)
                return at;
            at = wm_json_space(scan, at);
        }
        /* Behind a value, or at the end of an empty object or list. */
        while (wm_json_byte(scan, at) != ',') {
            bool in_object = is_object[(depth - 1) / 32] >> (depth - 1) % 32 & 1;
            if (wm_json_byte(scan, at) != (in_object ? '}' : ']'))
                return wm_json_fail(scan, at, "a comma or the end of an object or list is missing");
            at++;
            if (--depth == outer)
                return at;
            at = wm_json_space(scan, at);
        }
        at = wm_json_space(scan, at + 1);
        if (is_object[(depth - 1) / 32] >> (depth - 1) % 32 & 1 && !(at = wm_json_name(scan, at, &name, &has_escapes)))
            return NULL;
    }
}

/* Decodes the inside of a string. A lone surrogate becomes three bytes that no valid text has, so it equals no other name. */
static inline wm_bytes wm_json_decode(wm_bytes inside) {
    wm_json_scan scan = { inside.at, inside.at + inside.len, NULL, NULL };
    uint8_t *to = wm_alloc((size_t)inside.len), *first = to;
    for (const uint8_t *at = inside.at; at < scan.end;) {
        if (*at != '\\') {
            *to++ = *at++;
            continue;
        }
        uint8_t kind = at[1];
        at += 2;
        if (kind != 'u') {
            *to++ = kind == 'b' ? '\b' : kind == 'f' ? '\f' : kind == 'n' ? '\n' : kind == 'r' ? '\r' : kind == 't' ? '\t' : kind;
            continue;
        }
        uint32_t unit = (uint32_t)wm_json_unit(&scan, at), second = 0;
        at += 4;
        if (unit >> 10 == 0x36 && scan.end - at >= 6 && at[0] == '\\' && at[1] == 'u')
            second = (uint32_t)wm_json_unit(&scan, at + 2);
        if (second >> 10 == 0x37) {
            unit = 0x10000 + ((unit & 0x3ff) << 10 | (second & 0x3ff));
            at += 6;
        }
        if (unit < 0x80) {
            *to++ = (uint8_t)unit;
            continue;
        }
        int more = unit < 0x800 ? 1 : unit < 0x10000 ? 2 : 3;
        *to++ = (uint8_t)((more == 1 ? 0xc0 : more == 2 ? 0xe0 : 0xf0) | unit >> 6 * more);
        while (more-- > 0)
            *to++ = (uint8_t)(0x80 | (unit >> 6 * more & 0x3f));
    }
    return (wm_bytes){ first, (int32_t)(to - first) };
}

/* --- What a plugin calls ---------------------------------------------------------------------------------------------------- */

/* A document, or why it was refused. */
typedef struct {
    wm_bytes text;
    const char *error; /* NULL: none */
    int32_t place;     /* of the error: the number of bytes before it */
} wm_json_result;

/*
 * Called for each member of the outermost object, in order. `name` is decoded, `value` is the value's JSON text. Returns the JSON text
 * that replaces the value, which isn't checked, or WM_SAME. The rest of the document isn't read yet and may turn out to be wrong.
 */
typedef wm_bytes (*wm_json_replace)(void *context, wm_bytes name, wm_bytes value);

/* Checks a document, and returns it with replaced values. A document that is no object has no members. Null is no JSON. */
static inline wm_json_result wm_json_splice(wm_bytes document, wm_json_replace replace, void *context) {
    wm_json_scan scan = { document.at, document.at + (document.len > 0 ? document.len : 0), NULL, NULL };
    wm_buffer copied = { 0 };
    const uint8_t *at = wm_json_space(&scan, scan.begin), *rest = scan.begin;
    if (!replace || wm_json_byte(&scan, at) != '{') {
        at = wm_json_value(&scan, at, 0);
    } else if (at = wm_json_space(&scan, at + 1), wm_json_byte(&scan, at) == '}') {
        at++;
    } else {
        for (bool more = true; at && more;) {
            wm_bytes name;
            bool has_escapes;
            const uint8_t *first = wm_json_name(&scan, at, &name, &has_escapes);
            at = first ? wm_json_value(&scan, first, 1) : NULL;
            if (!at)
                break;
            if (has_escapes)
                name = wm_json_decode(name);
            wm_bytes with = replace(context, name, (wm_bytes){ first, (int32_t)(at - first) });
            if (with.len >= 0) {
                if (rest == scan.begin) /* room for most documents */
                    wm_grow(&copied.bytes, (uint32_t)document.len + 32, 1), copied.bytes.list.len = 0;
                wm_add(&copied, (wm_bytes){ rest, (int32_t)(first - rest) });
                wm_add(&copied, with);
                rest = at;
            }
            at = wm_json_space(&scan, at);
            more = wm_json_byte(&scan, at) == ',';
            if (!more && wm_json_byte(&scan, at) != '}')
                at = wm_json_fail(&scan, at, "a comma or the end of an object or list is missing");
            else
                at = more ? wm_json_space(&scan, at + 1) : at + 1;
        }
    }
    if (at && (at = wm_json_space(&scan, at)) < scan.end)
        at = wm_json_fail(&scan, at, "more than one value");
    if (!at)
        return (wm_json_result){ WM_NULL, scan.error, (int32_t)(scan.place - scan.begin) };
    if (rest == scan.begin)
        return (wm_json_result){ document, NULL, 0 };
    wm_add(&copied, (wm_bytes){ rest, (int32_t)(scan.end - rest) });
    return (wm_json_result){ wm_built(&copied), NULL, 0 };
}

/* Checks a document. */
static inline wm_json_result wm_json_check(wm_bytes document) { return wm_json_splice(document, NULL, NULL); }

/* Rejects the record with the code `bad-json`, and the error and its place as the reason. */
static inline void wm_json_reject(wm_out *out, wm_json_result refused) {
    wm_buffer reason = { 0 };
    wm_add(&reason, WM_TEXT("not JSON: "));
    wm_add(&reason, wm_text(refused.error));
    wm_add(&reason, WM_TEXT(", at byte "));
    wm_add_number(&reason, refused.place);
    wm_reject(out, WM_TEXT("bad-json"), wm_built(&reason));
}

/* What wm_json_member looks for. */
typedef struct {
    wm_bytes name, value;
} wm_json_wanted;

static inline wm_bytes wm_json_look(void *context, wm_bytes name, wm_bytes value) {
    wm_json_wanted *wanted = context;
    if (wm_equal(name, wanted->name))
        wanted->value = value;
    return WM_SAME;
}

/* The JSON text of a member of an object, WM_NULL if there is none. If the name occurs twice, the last one. */
static inline wm_bytes wm_json_member(wm_bytes object, wm_bytes name) {
    wm_json_wanted wanted = { name, WM_NULL };
    return wm_json_splice(object, wm_json_look, &wanted).error ? WM_NULL : wanted.value;
}

/*
 * Reads the next item of a list that was checked. Begin with the text of the list in `rest`; at the end, and if `rest` is no list, it
 * returns false.
 */
static inline bool wm_json_next(wm_bytes *rest, wm_bytes *item) {
    if (rest->len <= 0)
        return false;
    wm_json_scan scan = { rest->at, rest->at + rest->len, NULL, NULL };
    const uint8_t *at = wm_json_space(&scan, scan.begin);
    int before = wm_json_byte(&scan, at);
    if (before != '[' && before != ',')
        return false;
    const uint8_t *first = wm_json_space(&scan, at + 1);
    at = wm_json_value(&scan, first, 0);
    if (!at)
        return false;
    *item = (wm_bytes){ first, (int32_t)(at - first) };
    *rest = (wm_bytes){ at, (int32_t)(scan.end - at) };
    return true;
}

/* The text of a string, decoded; false for other values. */
static inline bool wm_json_text(wm_bytes value, wm_bytes *text) {
    if (value.len < 2 || value.at[0] != '"')
        return false;
    *text = wm_json_decode((wm_bytes){ value.at + 1, value.len - 2 });
    return true;
}

#endif /* WASMILL_JSON_H */
