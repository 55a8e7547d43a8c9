/* A program that ends by exit() without C_Finalize, while it is logged in to the first card.

   exit plain    after a signature.
   exit context  when a key that wants the PIN each time has got it, and has not been used.
   exit busy     while another thread signs.
   exit signal   by the handler of a signal, in the middle of a signature: nothing of that thread goes on.
   exit late     and calls C_Finalize then, after what the module itself has registered.
   exit fork     of a child only, which has nothing of its own; its parent goes on and then ends properly. */
#include "host.h"
#include <signal.h>

static CK_FUNCTION_LIST *p11;
static CK_SESSION_HANDLE session;
static CK_OBJECT_HANDLE key;
static atomic_ulong signatures;

/* The key signs what nobody looks at; says what C_Sign said. */
static CK_RV sign_once(void)
{
    CK_MECHANISM mechanism = { CKM_RSA_PKCS, NULL, 0 };
    CK_BYTE data[20] = { 7 }, signature[512];
    CK_ULONG length = sizeof signature;
    CK_RV rv = p11->C_SignInit(session, &mechanism, key);

    return rv == CKR_OK ? p11->C_Sign(session, data, sizeof data, signature, &length) : rv;
}

static CK_OBJECT_HANDLE key_of(CK_BYTE id)
{
    CK_OBJECT_CLASS class = CKO_PRIVATE_KEY;
    CK_ATTRIBUTE wanted[] = { { CKA_CLASS, &class, sizeof class }, { CKA_ID, &id, sizeof id } };
    CK_OBJECT_HANDLE found = CK_INVALID_HANDLE;
    CK_ULONG count = 0;

    MUST_GIVE(CKR_OK, p11->C_FindObjectsInit(session, wanted, 2));
    MUST_GIVE(CKR_OK, p11->C_FindObjects(session, &found, 1, &count));
    MUST_GIVE(CKR_OK, p11->C_FindObjectsFinal(session));
    MUST(count == 1);
    return found;
}

static void authenticate_for_nothing(void)
{
    CK_MECHANISM mechanism = { CKM_ECDSA, NULL, 0 };
    const char *pin = variable("TEST_PIN");

    MUST_GIVE(CKR_OK, p11->C_SignInit(session, &mechanism, key_of(2)));
    MUST_GIVE(CKR_OK, p11->C_Login(session, CKU_CONTEXT_SPECIFIC, (CK_UTF8CHAR *)pin, strlen(pin)));
}

static void *sign_for_ever(void *unused)
{
    /* The end of the login may be seen here, before the process is gone. */
    while (sign_once() == CKR_OK)
        atomic_fetch_add(&signatures, 1);
    return unused;
}

static void sign_meanwhile(void)
{
    pthread_t thread;

    MUST(pthread_create(&thread, NULL, sign_for_ever, NULL) == 0);
    while (atomic_load(&signatures) < 3)
        usleep(1000);
}

static void end(int number)
{
    exit(number == SIGALRM ? 0 : 1);
}

static void sign_until_the_signal(void)
{
    MUST(signal(SIGALRM, end) != SIG_ERR);
    /* A signature by a card that takes its time. */
    ualarm(100 * 1000, 0);
    for (;;)
        MUST_GIVE(CKR_OK, sign_once());
}

static void finalize(void)
{
    MUST_GIVE(CKR_OK, p11->C_Finalize(NULL));
}

static void end_a_child(void)
{
    pid_t child = fork();

    MUST(child >= 0);
    if (child == 0)
        exit(0);
    child_ends(child);
    MUST_GIVE(CKR_OK, sign_once());
    finalize();
}

int main(int count, char **arguments)
{
    const char *how = count == 2 ? arguments[1] : "";

    if (strcmp(how, "late") == 0)
        MUST(atexit(finalize) == 0);
    p11 = functions(open_module());
    MUST_GIVE(CKR_OK, p11->C_Initialize(NULL));
    session = open_session(p11);
    log_in(p11, session);
    key = key_of(1);
    MUST_GIVE(CKR_OK, sign_once());
    if (strcmp(how, "context") == 0)
        authenticate_for_nothing();
    else if (strcmp(how, "busy") == 0)
        sign_meanwhile();
    else if (strcmp(how, "signal") == 0)
        sign_until_the_signal();
    else if (strcmp(how, "fork") == 0)
        end_a_child();
    else
        MUST(strcmp(how, "plain") == 0 || strcmp(how, "late") == 0);
    exit(0);
}
