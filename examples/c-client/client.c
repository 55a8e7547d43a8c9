/*
 * A PKCS#11 client in C: lists the tokens of a module, signs a file with a key, and tries to read the key.
 *
 *   client MODULE list
 *   client MODULE sign ID FILE         the signature goes to standard output; the PIN is the first line of standard input
 *   client MODULE read ID              what a thief would try; the PIN as before
 *
 * ID is a CKA_ID in hexadecimal digits, as `ctk show` and pkcs11-tool print it. RSA keys sign with CKM_SHA256_RSA_PKCS, EC keys
 * with CKM_ECDSA_SHA256. Exit status: 0 done, 1 refused by the module, 2 wrong use.
 *
 *   cc -Wall -Wextra -I../../include -o client client.c -ldl
 */
#include <ctk_pkcs11.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static CK_FUNCTION_LIST_3_2 *p11;

static void check(CK_RV rv, const char *what)
{
    if (rv == CKR_OK)
        return;
    fprintf(stderr, "%s: 0x%lx%s\n", what, rv,
            rv == CKR_PIN_INCORRECT         ? " (wrong PIN)"
            : rv == CKR_ATTRIBUTE_SENSITIVE ? " (CKR_ATTRIBUTE_SENSITIVE)"
                                            : "");
    p11->C_Finalize(NULL);
    exit(1);
}

static void stop(const char *what)
{
    fprintf(stderr, "%s\n", what);
    if (p11 != NULL)
        p11->C_Finalize(NULL);
    exit(2);
}

/* Loads the module and takes its list of PKCS#11 3.2. */
static void load(const char *path)
{
    CK_RV (*get_interface)(CK_UTF8CHAR *, CK_VERSION *, CK_INTERFACE **, CK_FLAGS);
    CK_VERSION version = { 3, 2 };
    CK_INTERFACE *interface;
    void *module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    void *symbol = module == NULL ? NULL : dlsym(module, "C_GetInterface");

    if (symbol == NULL)
        stop(dlerror());
    memcpy(&get_interface, &symbol, sizeof symbol);
    if (get_interface((CK_UTF8CHAR *)"PKCS 11", &version, &interface, 0) != CKR_OK)
        stop("the module does not speak PKCS#11 3.2");
    p11 = interface->pFunctionList;
}

static int blank_padded(const CK_UTF8CHAR *text, int length)
{
    while (length > 0 && text[length - 1] == ' ')
        length--;
    return length;
}

static CK_ULONG slots(CK_SLOT_ID *all, CK_ULONG room)
{
    CK_ULONG count = room;

    check(p11->C_GetSlotList(CK_TRUE, all, &count), "C_GetSlotList");
    return count;
}

static void print_objects(CK_SESSION_HANDLE session)
{
    CK_OBJECT_CLASS class = CKO_CERTIFICATE;
    CK_ATTRIBUTE certificates = { CKA_CLASS, &class, sizeof class };
    CK_OBJECT_HANDLE object;
    CK_ULONG count, at;

    check(p11->C_FindObjectsInit(session, &certificates, 1), "C_FindObjectsInit");
    for (;;) {
        CK_BYTE id[255], label[255];
        CK_ATTRIBUTE wanted[] = { { CKA_ID, id, sizeof id }, { CKA_LABEL, label, sizeof label } };

        check(p11->C_FindObjects(session, &object, 1, &count), "C_FindObjects");
        if (count == 0)
            break;
        check(p11->C_GetAttributeValue(session, object, wanted, 2), "C_GetAttributeValue");
        printf("  ");
        for (at = 0; at < wanted[0].ulValueLen; at++)
            printf("%02x", id[at]);
        printf("  %.*s\n", (int)wanted[1].ulValueLen, (char *)label);
    }
    check(p11->C_FindObjectsFinal(session), "C_FindObjectsFinal");
}

static void list(void)
{
    CK_SLOT_ID all[64];
    CK_ULONG count = slots(all, 64), at;

    for (at = 0; at < count; at++) {
        CK_TOKEN_INFO info;
        CK_SESSION_HANDLE session;

        check(p11->C_GetTokenInfo(all[at], &info), "C_GetTokenInfo");
        printf("%.*s (%.*s, serial %.*s)\n", blank_padded(info.label, 32), (char *)info.label,
               blank_padded(info.model, 16), (char *)info.model, blank_padded(info.serialNumber, 16),
               (char *)info.serialNumber);
        check(p11->C_OpenSession(all[at], CKF_SERIAL_SESSION, NULL, NULL, &session), "C_OpenSession");
        print_objects(session);
        check(p11->C_CloseSession(session), "C_CloseSession");
    }
}

static CK_OBJECT_HANDLE find(CK_SESSION_HANDLE session, CK_OBJECT_CLASS class, CK_BYTE *id, CK_ULONG length)
{
    CK_ATTRIBUTE wanted[] = { { CKA_CLASS, &class, sizeof class }, { CKA_ID, id, length } };
    CK_OBJECT_HANDLE object = CK_INVALID_HANDLE;
    CK_ULONG count;

    check(p11->C_FindObjectsInit(session, wanted, 2), "C_FindObjectsInit");
    check(p11->C_FindObjects(session, &object, 1, &count), "C_FindObjects");
    check(p11->C_FindObjectsFinal(session), "C_FindObjectsFinal");
    return count == 1 ? object : CK_INVALID_HANDLE;
}

/* Finds the token that has this id (its certificate is visible before login), logs in, and gives the private key. */
static CK_OBJECT_HANDLE log_in(const char *hex, CK_SESSION_HANDLE *session)
{
    CK_SLOT_ID all[64];
    CK_ULONG count = slots(all, 64), at, length = strlen(hex) / 2;
    CK_BYTE id[255];
    char pin[258]; /* 255 bytes, as the longest PIN of a token may have, a newline and the end */

    if (length == 0 || length > sizeof id || strlen(hex) % 2 != 0)
        stop("the id is not a CKA_ID");
    for (at = 0; at < length; at++)
        if (sscanf(hex + 2 * at, "%2hhx", &id[at]) != 1)
            stop("the id is not hexadecimal");
    for (at = 0; at < count; at++) {
        check(p11->C_OpenSession(all[at], CKF_SERIAL_SESSION, NULL, NULL, session), "C_OpenSession");
        if (find(*session, CKO_CERTIFICATE, id, length) != CK_INVALID_HANDLE) {
            CK_OBJECT_HANDLE key;
            CK_RV rv;

            if (fgets(pin, sizeof pin, stdin) == NULL)
                stop("no PIN on standard input");
            if (strchr(pin, '\n') == NULL && strlen(pin) == sizeof pin - 1) {
                explicit_bzero(pin, sizeof pin);
                stop("the PIN is longer than a PIN can be");
            }
            pin[strcspn(pin, "\n")] = '\0';
            rv = p11->C_Login(*session, CKU_USER, (CK_UTF8CHAR *)pin, strlen(pin));
            explicit_bzero(pin, sizeof pin);
            check(rv, "C_Login");
            key = find(*session, CKO_PRIVATE_KEY, id, length);
            if (key == CK_INVALID_HANDLE)
                stop("that certificate has no private key");
            return key;
        }
        check(p11->C_CloseSession(*session), "C_CloseSession");
    }
    stop("no token has this id");
    return CK_INVALID_HANDLE;
}

static CK_KEY_TYPE key_type(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE key)
{
    CK_KEY_TYPE type;
    CK_ATTRIBUTE wanted = { CKA_KEY_TYPE, &type, sizeof type };

    check(p11->C_GetAttributeValue(session, key, &wanted, 1), "C_GetAttributeValue");
    return type;
}

static void sign(const char *id, const char *path)
{
    CK_MECHANISM mechanism = { CKM_SHA256_RSA_PKCS, NULL, 0 };
    CK_SESSION_HANDLE session;
    CK_OBJECT_HANDLE key = log_in(id, &session);
    CK_BYTE part[4096], *signature;
    CK_ULONG length;
    size_t got;
    FILE *file = fopen(path, "rb");

    if (file == NULL)
        stop("the file cannot be opened");
    if (key_type(session, key) == CKK_EC)
        mechanism.mechanism = CKM_ECDSA_SHA256;
    check(p11->C_SignInit(session, &mechanism, key), "C_SignInit");
    while ((got = fread(part, 1, sizeof part, file)) > 0)
        check(p11->C_SignUpdate(session, part, got), "C_SignUpdate");
    fclose(file);
    check(p11->C_SignFinal(session, NULL, &length), "C_SignFinal (how long?)");
    signature = malloc(length);
    if (signature == NULL)
        stop("no memory");
    check(p11->C_SignFinal(session, signature, &length), "C_SignFinal");
    fwrite(signature, 1, length, stdout);
    free(signature);
}

static void read_key(const char *id)
{
    CK_SESSION_HANDLE session;
    CK_OBJECT_HANDLE key = log_in(id, &session);
    CK_ATTRIBUTE_TYPE secret = key_type(session, key) == CKK_RSA ? CKA_PRIVATE_EXPONENT : CKA_VALUE;
    CK_BYTE value[4096];
    CK_ATTRIBUTE wanted = { secret, value, sizeof value };

    check(p11->C_GetAttributeValue(session, key, &wanted, 1), "reading the private key");
    fwrite(value, 1, wanted.ulValueLen, stdout);
}

int main(int argc, char **argv)
{
    int lists = argc == 3 && strcmp(argv[2], "list") == 0;
    int signs = argc == 5 && strcmp(argv[2], "sign") == 0;
    int reads = argc == 4 && strcmp(argv[2], "read") == 0;

    if (!lists && !signs && !reads)
        stop("client MODULE list | sign ID FILE | read ID");
    load(argv[1]);
    check(p11->C_Initialize(NULL), "C_Initialize");
    if (lists)
        list();
    else if (signs)
        sign(argv[3], argv[4]);
    else
        read_key(argv[3]);
    check(p11->C_Finalize(NULL), "C_Finalize");
    return 0;
}
