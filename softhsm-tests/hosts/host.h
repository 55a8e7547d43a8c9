/* What the host programs share: loading the module, a login, a signature that is verified. Each ends with status 0 only if all went as it must. */
#ifndef HOST_H
#define HOST_H

#include <ctk_pkcs11.h>
#include <dlfcn.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Ends the program with the place where something was not as it must be. */
#define MUST(condition)                                                                          \
    do {                                                                                         \
        if (!(condition)) {                                                                      \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);              \
            _exit(1);                                                                            \
        }                                                                                        \
    } while (0)

#define MUST_GIVE(wanted, call)                                                                  \
    do {                                                                                         \
        CK_RV rv_ = (call);                                                                      \
        if (rv_ != (wanted)) {                                                                   \
            fprintf(stderr, "%s:%d: %s gives 0x%lx\n", __FILE__, __LINE__, #call, rv_);          \
            _exit(1);                                                                            \
        }                                                                                        \
    } while (0)

/* Which module, and the PIN of its first token. */
static inline const char *variable(const char *name)
{
    const char *value = getenv(name);
    MUST(value != NULL);
    return value;
}

static inline void *open_module(void)
{
    void *module = dlopen(variable("CTK_MODULE"), RTLD_NOW | RTLD_LOCAL);
    if (module == NULL)
        fprintf(stderr, "%s\n", dlerror());
    MUST(module != NULL);
    return module;
}

static inline CK_FUNCTION_LIST *functions(void *module)
{
    CK_RV (*get)(CK_FUNCTION_LIST **);
    CK_FUNCTION_LIST *list = NULL;
    void *symbol = dlsym(module, "C_GetFunctionList");

    MUST(symbol != NULL);
    memcpy(&get, &symbol, sizeof get);
    MUST_GIVE(CKR_OK, get(&list));
    return list;
}

/* A session on the first token. */
static inline CK_SESSION_HANDLE open_session(CK_FUNCTION_LIST *p11)
{
    CK_SLOT_ID slots[16];
    CK_ULONG count = 16;
    CK_SESSION_HANDLE session = CK_INVALID_HANDLE;

    MUST_GIVE(CKR_OK, p11->C_GetSlotList(CK_TRUE, slots, &count));
    MUST(count > 0);
    MUST_GIVE(CKR_OK, p11->C_OpenSession(slots[0], CKF_SERIAL_SESSION, NULL, NULL, &session));
    MUST(session != CK_INVALID_HANDLE);
    return session;
}

static inline void log_in(CK_FUNCTION_LIST *p11, CK_SESSION_HANDLE session)
{
    const char *pin = variable("TEST_PIN");

    MUST_GIVE(CKR_OK, p11->C_Login(session, CKU_USER, (CK_UTF8CHAR *)pin, strlen(pin)));
}

/* The first private key that a session sees; after a login there is one. */
static inline CK_OBJECT_HANDLE private_key(CK_FUNCTION_LIST *p11, CK_SESSION_HANDLE session)
{
    CK_OBJECT_CLASS class = CKO_PRIVATE_KEY;
    CK_ATTRIBUTE wanted = { CKA_CLASS, &class, sizeof class };
    CK_OBJECT_HANDLE key = CK_INVALID_HANDLE;
    CK_ULONG count = 0;

    MUST_GIVE(CKR_OK, p11->C_FindObjectsInit(session, &wanted, 1));
    MUST_GIVE(CKR_OK, p11->C_FindObjects(session, &key, 1, &count));
    MUST_GIVE(CKR_OK, p11->C_FindObjectsFinal(session));
    MUST(count == 1);
    return key;
}

/* Whether libcrypto, which is not the module's, finds that a P-256 key has made this signature. */
static inline int verifies(EVP_PKEY *public, const CK_BYTE *message, size_t length, const CK_BYTE *signature)
{
    ECDSA_SIG *sides = ECDSA_SIG_new();
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    unsigned char *der = NULL;
    int der_length, good;

    MUST(sides != NULL && context != NULL);
    MUST(ECDSA_SIG_set0(sides, BN_bin2bn(signature, 32, NULL), BN_bin2bn(signature + 32, 32, NULL)) == 1);
    der_length = i2d_ECDSA_SIG(sides, &der);
    MUST(der_length > 0);
    MUST(EVP_DigestVerifyInit(context, NULL, EVP_sha256(), NULL, public) == 1);
    good = EVP_DigestVerify(context, der, (size_t)der_length, message, length) == 1;
    OPENSSL_free(der);
    EVP_MD_CTX_free(context);
    ECDSA_SIG_free(sides);
    return good;
}

/* The public key in the file that TEST_PUBLIC names. */
static inline EVP_PKEY *public_key(void)
{
    FILE *file = fopen(variable("TEST_PUBLIC"), "r");
    EVP_PKEY *key;

    MUST(file != NULL);
    key = PEM_read_PUBKEY(file, NULL, NULL, NULL);
    MUST(key != NULL);
    fclose(file);
    return key;
}

/* A message that nobody has signed before, and what a P-256 key has made of it. */
struct signed_message {
    CK_BYTE message[64];
    CK_ULONG length;
    CK_BYTE signature[64];
};

/* Signs; nothing of this is libcrypto's. */
static inline struct signed_message sign_only(CK_FUNCTION_LIST *p11, CK_SESSION_HANDLE session, CK_OBJECT_HANDLE key)
{
    static atomic_ulong count;
    CK_MECHANISM mechanism = { CKM_ECDSA_SHA256, NULL, 0 };
    CK_ULONG length = 64;
    struct signed_message signed_message = { { 0 }, 0, { 0 } };

    signed_message.length = (CK_ULONG)snprintf((char *)signed_message.message, sizeof signed_message.message,
                                               "process %ld, message %lu", (long)getpid(), atomic_fetch_add(&count, 1));
    MUST_GIVE(CKR_OK, p11->C_SignInit(session, &mechanism, key));
    MUST_GIVE(CKR_OK, p11->C_Sign(session, signed_message.message, signed_message.length, signed_message.signature, &length));
    MUST(length == 64);
    return signed_message;
}

/* The signature is right, and not for another message. */
static inline void check(struct signed_message it)
{
    EVP_PKEY *public = public_key();

    MUST(verifies(public, it.message, it.length, it.signature));
    it.message[0] ^= 1;
    MUST(!verifies(public, it.message, it.length, it.signature));
    EVP_PKEY_free(public);
}

static inline void sign(CK_FUNCTION_LIST *p11, CK_SESSION_HANDLE session, CK_OBJECT_HANDLE key)
{
    check(sign_only(p11, session, key));
}

/* From C_Initialize to a signature. */
static inline CK_SESSION_HANDLE use(CK_FUNCTION_LIST *p11)
{
    CK_SESSION_HANDLE session;

    MUST_GIVE(CKR_OK, p11->C_Initialize(NULL));
    session = open_session(p11);
    log_in(p11, session);
    sign(p11, session, private_key(p11, session));
    return session;
}

/* Waits for a child, which must end with status 0. */
static inline void child_ends(pid_t child)
{
    int status = -1;

    MUST(waitpid(child, &status, 0) == child);
    if (status != 0)
        fprintf(stderr, "the child's status is 0x%x\n", status);
    MUST(status == 0);
}

#endif
