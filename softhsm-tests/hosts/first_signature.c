/* The CPU time of the first signature of a process, and of the first one in a child after fork, in nanoseconds.

   BENCH_PIN=PIN first_signature MODULE LABEL   The token has an RSA key, which C_Login has parsed before the measured call. */
#include "measured.h"

static uint64_t first(CK_FUNCTION_LIST *p11, const char *label, const char *pin)
{
    CK_SESSION_HANDLE session;
    CK_OBJECT_HANDLE key;
    uint64_t start;
    CK_RV rv = p11->C_Initialize(NULL);

    /* A module that does not notice the fork goes on where its parent was. */
    MUST(rv == CKR_OK || rv == CKR_CRYPTOKI_ALREADY_INITIALIZED);
    session = logged_in(p11, label, pin);
    key = private_key(p11, session, CKK_RSA);
    start = nanoseconds(CLOCK_PROCESS_CPUTIME_ID);
    sign(p11, session, key, CKM_RSA_PKCS);
    return nanoseconds(CLOCK_PROCESS_CPUTIME_ID) - start;
}

int main(int count, char **arguments)
{
    const char *pin = getenv("BENCH_PIN");
    CK_FUNCTION_LIST *p11;
    pid_t child;
    int status = -1;

    MUST(count == 3 && pin != NULL);
    p11 = load(arguments[1]);
    printf("%lu ", (unsigned long)first(p11, arguments[2], pin));
    fflush(stdout);
    child = fork();
    MUST(child >= 0);
    if (child == 0) {
        printf("%lu\n", (unsigned long)first(p11, arguments[2], pin));
        fflush(stdout);
        _exit(0);
    }
    MUST(waitpid(child, &status, 0) == child && status == 0);
    MUST_GIVE(CKR_OK, p11->C_Finalize(NULL));
    return 0;
}
