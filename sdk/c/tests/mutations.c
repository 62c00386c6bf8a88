/*
 * Runs frames of stdin through the plugin `mask`, natively, and writes what became of them. A frame is a length of 32 bits in the
 * machine's order, and bytes; the length -1 says that the value was rejected. sdk/mutations.py makes and checks them.
 */
#include "../../../examples/mask-c/mask.c"
#include "wasmill_test.h"

/* As in examples/mask-c/pipeline.toml. */
static const char SETTINGS[] = "{\"fields\":[\"email\",\"phone\",\"a\\\"b\"]}";

int main(void) {
    const char *ports[] = { "main" };
    wm_test_init(SETTINGS, ports, 1);
    int32_t len;
    while (fread(&len, sizeof len, 1, stdin) == 1) {
        uint8_t *bytes = wm_test_allocate((size_t)len);
        if (fread(bytes, 1, (size_t)len, stdin) != (size_t)len)
            wm_test_fail("a frame is cut off");
        wm_test_input input = wm_test_value("");
        input.value = (wm_bytes){ bytes, len };
        const wm_test_result *result = wm_test_run(&input, 1);
        wm_bytes value = result->is_failed ? WM_NULL : result->outputs[0].value;
        fwrite(&value.len, sizeof value.len, 1, stdout);
        if (value.len > 0)
            fwrite(value.at, 1, (size_t)value.len, stdout);
        free(bytes);
    }
    wm_test_end();
    return 0;
}
