/* What the measured host programs share. They link nothing but libc, so that what they use is the module's. */
#ifndef MEASURED_H
#define MEASURED_H

#include <ctk_pkcs11.h>
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
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

static inline uint64_t nanoseconds(clockid_t clock)
{
    struct timespec now;

    MUST(clock_gettime(clock, &now) == 0);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static inline CK_FUNCTION_LIST *load(const char *path)
{
    void *module = dlopen(path, RTLD_NOW | RTLD_LOCAL), *symbol;
    CK_RV (*get)(CK_FUNCTION_LIST **);
    CK_FUNCTION_LIST *list = NULL;

    if (module == NULL)
        fprintf(stderr, "%s\n", dlerror());
    MUST(module != NULL);
    symbol = dlsym(module, "C_GetFunctionList");
    MUST(symbol != NULL);
    memcpy(&get, &symbol, sizeof get);
    MUST_GIVE(CKR_OK, get(&list));
    return list;
}

/* The slot of the token with this label. */
static inline CK_SLOT_ID slot_of(CK_FUNCTION_LIST *p11, const char *label)
{
    CK_SLOT_ID slots[64];
    CK_ULONG count = 64, at;

    MUST_GIVE(CKR_OK, p11->C_GetSlotList(CK_TRUE, slots, &count));
    for (at = 0; at < count; at++) {
        CK_TOKEN_INFO info;
        size_t length = strlen(label);

        if (p11->C_GetTokenInfo(slots[at], &info) == CKR_OK && memcmp(info.label, label, length) == 0 &&
            (length == sizeof info.label || info.label[length] == ' '))
            return slots[at];
    }
    fprintf(stderr, "no token with the label %s\n", label);
    _exit(1);
}

static inline CK_SESSION_HANDLE logged_in(CK_FUNCTION_LIST *p11, const char *label, const char *pin)
{
    CK_SESSION_HANDLE session;
    CK_RV rv;

    MUST_GIVE(CKR_OK, p11->C_OpenSession(slot_of(p11, label), CKF_SERIAL_SESSION, NULL, NULL, &session));
    rv = p11->C_Login(session, CKU_USER, (CK_UTF8CHAR *)pin, strlen(pin));
    MUST(rv == CKR_OK || rv == CKR_USER_ALREADY_LOGGED_IN);
    return session;
}

/* The first private key of this type. */
static inline CK_OBJECT_HANDLE private_key(CK_FUNCTION_LIST *p11, CK_SESSION_HANDLE session, CK_KEY_TYPE type)
{
    CK_OBJECT_CLASS class = CKO_PRIVATE_KEY;
    CK_ATTRIBUTE wanted[] = { { CKA_CLASS, &class, sizeof class }, { CKA_KEY_TYPE, &type, sizeof type } };
    CK_OBJECT_HANDLE key = CK_INVALID_HANDLE;
    CK_ULONG count = 0;

    MUST_GIVE(CKR_OK, p11->C_FindObjectsInit(session, wanted, 2));
    MUST_GIVE(CKR_OK, p11->C_FindObjects(session, &key, 1, &count));
    MUST_GIVE(CKR_OK, p11->C_FindObjectsFinal(session));
    MUST(count == 1);
    return key;
}

/* A signature over 32 bytes, which stand for a hash. */
static inline void sign(CK_FUNCTION_LIST *p11, CK_SESSION_HANDLE session, CK_OBJECT_HANDLE key, CK_MECHANISM_TYPE type)
{
    CK_MECHANISM mechanism = { type, NULL, 0 };
    CK_BYTE hash[32], signature[1024];
    CK_ULONG length = sizeof signature;

    memset(hash, 0x5a, sizeof hash);
    MUST_GIVE(CKR_OK, p11->C_SignInit(session, &mechanism, key));
    MUST_GIVE(CKR_OK, p11->C_Sign(session, hash, sizeof hash, signature, &length));
}

#endif
