/* Loads, uses and unloads the module 200 times. Every tenth time it forgets C_Finalize, as programs do. */
#include "host.h"

int main(void)
{
    int round, forgotten = 0;

    for (round = 0; round < 200; round++) {
        void *module = open_module();
        CK_FUNCTION_LIST *p11 = functions(module);

        /* The module stays mapped after dlclose, and so does what it knows. */
        if (forgotten)
            MUST_GIVE(CKR_OK, p11->C_Finalize(NULL));
        use(p11);
        forgotten = round % 10 == 9;
        if (!forgotten)
            MUST_GIVE(CKR_OK, p11->C_Finalize(NULL));
        MUST(dlclose(module) == 0);
    }
    return 0;
}
