/* C_Finalize from the host's own destructor, which runs after atexit's functions, with a session open and logged in. */
#include "host.h"

static CK_FUNCTION_LIST *p11;

__attribute__((destructor)) static void destroy(void)
{
    MUST_GIVE(CKR_OK, p11->C_Finalize(NULL));
    if (write(1, "finalized\n", 10) != 10)
        _exit(1);
}

int main(void)
{
    p11 = functions(open_module());
    use(p11);
    return 0;
}
