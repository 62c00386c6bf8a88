/* Takes all that C can get at: it has no library, so it calls the functions of WASI preview 1 itself. A record says what to try: see canaries.py. */
#include "wasmill.h"

#define WASI(name) __attribute__((import_module("wasi_snapshot_preview1"), import_name(#name))) extern int name
WASI(args_get)(void *pointers, void *bytes);
WASI(args_sizes_get)(void *count, void *bytes);
WASI(environ_get)(void *pointers, void *bytes);
WASI(environ_sizes_get)(void *count, void *bytes);
WASI(fd_prestat_get)(int fd, void *to);
WASI(fd_prestat_dir_name)(int fd, void *to, int length);
WASI(fd_read)(int fd, const void *parts, int count, void *read);
WASI(fd_readdir)(int fd, void *to, int length, long long cookie, void *used);
WASI(path_open)(int fd, int flags, const void *path, int length, int open, long long rights, long long inheriting, int fdflags, void *to);
WASI(path_readlink)(int fd, const void *path, int length, void *to, int room, void *used);
WASI(sock_accept)(int fd, int flags, void *to);
WASI(sock_recv)(int fd, const void *parts, int count, int flags, void *read, void *more);
WASI(sock_send)(int fd, const void *parts, int count, int flags, void *sent);

/* A file descriptor that a preopened folder would have, and some more. */
enum { FIRST = 0, LAST = 9, ROOM = 4096 };

static unsigned char taken[ROOM];
static struct { void *at; unsigned length; } part = { taken, ROOM };

static void add(wm_buffer *to, const char *text) {
    while (*text)
        wm_add_byte(to, (uint8_t)*text++);
}

/* What a function said: its number, and what it left in `taken`. */
static void told(wm_buffer *to, const char *name, int error, uint32_t length) {
    add(to, name);
    add(to, " ");
    wm_add_number(to, error);
    if (error == 0) {
        add(to, " `");
        wm_add(to, (wm_bytes){ taken, length < ROOM ? (int32_t)length : ROOM });
        add(to, "`");
    }
    add(to, "; ");
}

static bool is(wm_bytes text, const char *word, wm_bytes *rest) {
    int32_t at = 0;
    while (word[at] && at < text.len && text.at[at] == (uint8_t)word[at])
        at++;
    if (word[at] || (at < text.len && text.at[at] != ' '))
        return false;
    *rest = at < text.len ? (wm_bytes){ text.at + at + 1, text.len - at - 1 } : (wm_bytes){ text.at, 0 };
    return true;
}

/* Looks in the whole memory for the text, which is backwards here. */
static void search(wm_buffer *to, wm_bytes marker) {
    uint32_t end = (uint32_t)__builtin_wasm_memory_size(0) << 16, found = 0;
    for (uint32_t at = 0; at + (uint32_t)marker.len < end; at++) {
        const volatile uint8_t *memory = (const volatile uint8_t *)(uintptr_t)at;
        int32_t same = 0;
        while (same < marker.len && memory[same] == marker.at[marker.len - 1 - same])
            same++;
        if (same < marker.len)
            continue;
        found++;
        for (uint32_t i = 0; i < 60 && at + i < end; i++)
            wm_add_byte(to, memory[i] >= ' ' && memory[i] < 127 ? memory[i] : '.');
        add(to, "; ");
    }
    wm_add_number(to, end);
    add(to, " bytes, with it: ");
    wm_add_number(to, found);
}

const char *wm_init(wm_bytes settings, const wm_bytes *ports, size_t count) {
    (void)settings, (void)ports, (void)count;
    return 0;
}

void wm_process(const wm_record *record, wm_out *out) {
    wm_bytes rest;
    wm_buffer said = { 0 };
    uint32_t count = 0, length = 0;
    add(&said, "told ");
    wm_add(&said, record->value);
    add(&said, " -> ");
    if (is(record->value, "env", &rest)) {
        told(&said, "environ_sizes_get", environ_sizes_get(&count, &length), 0);
        int error = environ_get(wm_alloc(4 * count + 4), taken);
        told(&said, "environ_get", error, length);
    } else if (is(record->value, "args", &rest)) {
        told(&said, "args_sizes_get", args_sizes_get(&count, &length), 0);
        int error = args_get(wm_alloc(4 * count + 4), taken);
        told(&said, "args_get", error, length);
    } else if (is(record->value, "cwd", &rest)) {
        for (int fd = FIRST; fd <= LAST; fd++) {
            told(&said, "fd_prestat_get", fd_prestat_get(fd, taken), 8);
            told(&said, "fd_prestat_dir_name", fd_prestat_dir_name(fd, taken, 64), 64);
        }
    } else if (is(record->value, "stdin", &rest)) {
        int error = fd_read(0, &part, 1, &length);
        told(&said, "fd_read", error, length);
    } else if (is(record->value, "file", &rest) || is(record->value, "write", &rest)) {
        for (int fd = FIRST; fd <= LAST; fd++) {
            int opened = -1, creating = record->value.at[0] == 'w' ? 1 : 0;
            int error = path_open(fd, 1, rest.at, rest.len, creating, -1, -1, 0, &opened);
            told(&said, "path_open", error, 0);
            if (error == 0) {
                error = fd_read(opened, &part, 1, &length);
                told(&said, "fd_read", error, length);
            }
            error = path_readlink(fd, rest.at, rest.len, taken, ROOM, &length);
            told(&said, "path_readlink", error, length);
        }
    } else if (is(record->value, "list", &rest)) {
        for (int fd = FIRST; fd <= LAST; fd++) {
            int error = fd_readdir(fd, taken, ROOM, 0, &length);
            told(&said, "fd_readdir", error, length);
        }
    } else if (is(record->value, "connect", &rest)) {
        for (int fd = FIRST; fd <= LAST; fd++) {
            told(&said, "sock_accept", sock_accept(fd, 0, &count), 0);
            told(&said, "sock_send", sock_send(fd, &part, 1, 0, &length), 0);
            int error = sock_recv(fd, &part, 1, 0, &length, &count);
            told(&said, "sock_recv", error, length);
        }
    } else if (is(record->value, "exec", &rest)) {
        add(&said, "there is no such function");
    } else if (is(record->value, "memory", &rest)) {
        search(&said, rest);
    } else {
        wm_forward(out, 0);
        return;
    }
    wm_send(out, 0, wm_built(&said));
}
