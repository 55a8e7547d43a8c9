/* fork while other threads are inside the module: what they held at that moment must not stop the child. */
#include "host.h"
#include <sys/mman.h>

static CK_FUNCTION_LIST *p11;
static CK_OBJECT_HANDLE key;
static atomic_int stop;

static void *work(void *nothing)
{
    while (!atomic_load(&stop)) {
        CK_SESSION_HANDLE session = open_session(p11);

        sign(p11, session, key);
        MUST_GIVE(CKR_OK, p11->C_CloseSession(session));
    }
    return nothing;
}

int main(void)
{
    CK_SESSION_HANDLE session;
    /* The parent verifies what its child has signed: libcrypto, unlike the module, may have been forked with a lock held. */
    struct signed_message *from_child =
        mmap(NULL, sizeof *from_child, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pthread_t threads[3];
    int at;

    MUST(from_child != MAP_FAILED);
    p11 = functions(open_module());
    session = use(p11);
    key = private_key(p11, session);
    for (at = 0; at < 3; at++)
        MUST(pthread_create(&threads[at], NULL, work, NULL) == 0);
    for (at = 0; at < 25; at++) {
        pid_t child = fork();

        MUST(child >= 0);
        if (child == 0) {
            CK_SESSION_INFO info;

            MUST_GIVE(CKR_CRYPTOKI_NOT_INITIALIZED, p11->C_GetSessionInfo(session, &info));
            MUST_GIVE(CKR_OK, p11->C_Initialize(NULL));
            session = open_session(p11);
            log_in(p11, session);
            *from_child = sign_only(p11, session, private_key(p11, session));
            MUST_GIVE(CKR_OK, p11->C_Finalize(NULL));
            _exit(0);
        }
        child_ends(child);
        check(*from_child);
        memset(from_child, 0, sizeof *from_child);
    }
    atomic_store(&stop, 1);
    for (at = 0; at < 3; at++)
        MUST(pthread_join(threads[at], NULL) == 0);
    MUST_GIVE(CKR_OK, p11->C_Finalize(NULL));
    return 0;
}
