/* Eight threads sign at the same time, each in its own session, and find and read between.

   threads [ROUNDS]   each of them that often; 100 times if nothing is said. */
#include "host.h"

static CK_FUNCTION_LIST *p11;
static unsigned long rounds = 100;

static void *work(void *nothing)
{
    unsigned long round;

    for (round = 0; round < rounds; round++) {
        CK_SESSION_HANDLE session = open_session(p11);
        CK_OBJECT_HANDLE key = private_key(p11, session);
        CK_BYTE id[64];
        CK_ATTRIBUTE wanted = { CKA_ID, id, sizeof id };

        MUST_GIVE(CKR_OK, p11->C_GetAttributeValue(session, key, &wanted, 1));
        MUST(wanted.ulValueLen == 20);
        sign(p11, session, key);
        MUST_GIVE(CKR_OK, p11->C_CloseSession(session));
    }
    return nothing;
}

int main(int count, char **arguments)
{
    pthread_t threads[8];
    int at;

    if (count > 1)
        rounds = strtoul(arguments[1], NULL, 10);
    MUST(rounds > 0);

    p11 = functions(open_module());
    use(p11);
    for (at = 0; at < 8; at++)
        MUST(pthread_create(&threads[at], NULL, work, NULL) == 0);
    for (at = 0; at < 8; at++)
        MUST(pthread_join(threads[at], NULL) == 0);
    MUST_GIVE(CKR_OK, p11->C_Finalize(NULL));
    return 0;
}
