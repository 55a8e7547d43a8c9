/* C_Finalize from atexit, registered before the module was loaded: it runs after what the module itself has registered. */
#include "host.h"

static CK_FUNCTION_LIST *p11;

static void at_exit(void)
{
    MUST_GIVE(CKR_OK, p11->C_Finalize(NULL));
    if (write(1, "finalized\n", 10) != 10)
        _exit(1);
}

int main(void)
{
    MUST(atexit(at_exit) == 0);
    p11 = functions(open_module());
    use(p11);
    return 0;
}
