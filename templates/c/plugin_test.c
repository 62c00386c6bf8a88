/* The plugin, natively: cc -std=c11 -g -fsanitize=address,undefined plugin_test.c -o plugin_test && ./plugin_test */
#include "plugin.c"
#include "sdk/wasmill_test.h"

int main(void) {
    const char *ports[] = { "main" };
    if (wm_test_init("{\"prefix\":\"> \"}", ports, 1))
        return 1;
    wm_test_input input = wm_test_value("hello");
    const wm_test_result *result = wm_test_run(&input, 1);
    bool is_right = result->count == 1 && wm_test_is(result->outputs[0].value, "> hello");
    wm_test_end();
    return is_right ? 0 : 1;
}
