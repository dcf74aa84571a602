/* Names of methods. */
#include "base/assert.h"
#include "wire/client_api.h"

const char *sp_method_name(enum sp_method method)
{
    static const char *const names[] = {
#define METHOD_NAME(name, text) [SP_METHOD_##name] = text,
        SP_METHOD_LIST(METHOD_NAME)
#undef METHOD_NAME
    };

    SP_ASSERT(method < SP_METHOD_COUNT);
    return names[method];
}

enum sp_method sp_method_find(struct sp_bytes name)
{
    for (unsigned i = 0; i < SP_METHOD_COUNT; i++) {
        if (sp_bytes_equal_text(name, sp_method_name((enum sp_method)i))) {
            return (enum sp_method)i;
        }
    }
    return SP_METHOD_COUNT;
}
