/* Signs with a key of a card that other programs use as well, and logs out and in again now and then.

   share SECONDS   with the key whose CKA_ID is 01, RSA-2048. Each signature is verified. It prints how many it has made, how often it
                   was told that its login is over, and the longest time in milliseconds from one signature to the next. */
#include "host.h"
#include <time.h>

static unsigned long milliseconds(void)
{
    struct timespec now;

    MUST(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
    return (unsigned long)now.tv_sec * 1000 + (unsigned long)now.tv_nsec / 1000000;
}

static CK_OBJECT_HANDLE key_01(CK_FUNCTION_LIST *p11, CK_SESSION_HANDLE session)
{
    CK_OBJECT_CLASS class = CKO_PRIVATE_KEY;
    CK_BYTE id = 1;
    CK_ATTRIBUTE wanted[] = { { CKA_CLASS, &class, sizeof class }, { CKA_ID, &id, sizeof id } };
    CK_OBJECT_HANDLE key = CK_INVALID_HANDLE;
    CK_ULONG count = 0;

    MUST_GIVE(CKR_OK, p11->C_FindObjectsInit(session, wanted, 2));
    MUST_GIVE(CKR_OK, p11->C_FindObjects(session, &key, 1, &count));
    MUST_GIVE(CKR_OK, p11->C_FindObjectsFinal(session));
    MUST(count == 1);
    return key;
}

static void must_verify(EVP_PKEY *public, const char *message, const CK_BYTE *signature, CK_ULONG length)
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();

    MUST(context != NULL);
    MUST(EVP_DigestVerifyInit(context, NULL, EVP_sha256(), NULL, public) == 1);
    MUST(EVP_DigestVerify(context, signature, length, (const unsigned char *)message, strlen(message)) == 1);
    EVP_MD_CTX_free(context);
}

int main(int count, char **arguments)
{
    CK_MECHANISM mechanism = { CKM_SHA256_RSA_PKCS, NULL, 0 };
    CK_FUNCTION_LIST *p11 = functions(open_module());
    EVP_PKEY *public = public_key();
    unsigned long signatures = 0, ended = 0, gap = 0, end, last;
    CK_SESSION_HANDLE session;
    CK_OBJECT_HANDLE key;

    MUST(count == 2);
    MUST_GIVE(CKR_OK, p11->C_Initialize(NULL));
    session = open_session(p11);
    log_in(p11, session);
    key = key_01(p11, session);
    last = milliseconds();
    end = last + strtoul(arguments[1], NULL, 10) * 1000;
    while (milliseconds() < end) {
        CK_BYTE signature[256];
        CK_ULONG length = sizeof signature;
        char message[64];
        CK_RV rv;

        snprintf(message, sizeof message, "message %lu of process %ld", signatures, (long)getpid());
        rv = p11->C_SignInit(session, &mechanism, key);
        if (rv == CKR_OK)
            rv = p11->C_Sign(session, (CK_BYTE *)message, strlen(message), signature, &length);
        if (rv == CKR_USER_NOT_LOGGED_IN) {
            /* Somebody else has logged out, and that logs out whoever uses the card. */
            ended++;
            log_in(p11, session);
            continue;
        }
        MUST_GIVE(CKR_OK, rv);
        must_verify(public, message, signature, length);
        if (milliseconds() - last > gap)
            gap = milliseconds() - last;
        last = milliseconds();
        if (++signatures % 25 == 0) {
            MUST_GIVE(CKR_OK, p11->C_Logout(session));
            log_in(p11, session);
        }
    }
    MUST_GIVE(CKR_OK, p11->C_Finalize(NULL));
    if (milliseconds() - last > gap)
        gap = milliseconds() - last;
    printf("%lu %lu %lu\n", signatures, ended, gap);
    return 0;
}
