/* Does one thing again and again, and says how much memory that has left behind.

   TEST_PIN=PIN steady MODULE LABEL WHAT COUNT   prints the growth of the heap in bytes. System calls stand between two writes to
                                                 file descriptor -1, for who traces them. */
#include "measured.h"
#include <malloc.h>

static CK_FUNCTION_LIST *p11;
static CK_SESSION_HANDLE session;
static CK_OBJECT_HANDLE key, certificate;
static CK_BYTE id[64];
static CK_ULONG id_length;
static const char *label, *pin;

static void sign_rsa(void)
{
    sign(p11, session, key, CKM_RSA_PKCS);
}

static void sign_rsa_pss(void)
{
    CK_RSA_PKCS_PSS_PARAMS parameters = { CKM_SHA256, CKG_MGF1_SHA256, 32 };
    CK_MECHANISM mechanism = { CKM_SHA256_RSA_PKCS_PSS, &parameters, sizeof parameters };
    CK_BYTE message[1000] = { 1 }, signature[512];
    CK_ULONG length = sizeof signature;

    MUST_GIVE(CKR_OK, p11->C_SignInit(session, &mechanism, key));
    MUST_GIVE(CKR_OK, p11->C_SignUpdate(session, message, 400));
    MUST_GIVE(CKR_OK, p11->C_SignUpdate(session, message + 400, 600));
    MUST_GIVE(CKR_OK, p11->C_SignFinal(session, signature, &length));
}

static void sign_ec(void)
{
    sign(p11, session, key, CKM_ECDSA);
}

static void sign_ed25519(void)
{
    sign(p11, session, key, CKM_EDDSA);
}

/* The first public key of this type. */
static CK_OBJECT_HANDLE public_key(CK_KEY_TYPE type)
{
    CK_OBJECT_CLASS class = CKO_PUBLIC_KEY;
    CK_ATTRIBUTE wanted[] = { { CKA_CLASS, &class, sizeof class }, { CKA_KEY_TYPE, &type, sizeof type } };
    CK_OBJECT_HANDLE found = CK_INVALID_HANDLE;
    CK_ULONG count = 0;

    MUST_GIVE(CKR_OK, p11->C_FindObjectsInit(session, wanted, 2));
    MUST_GIVE(CKR_OK, p11->C_FindObjects(session, &found, 1, &count));
    MUST_GIVE(CKR_OK, p11->C_FindObjectsFinal(session));
    MUST(count == 1);
    return found;
}

/* A signature is verified; every other time a wrong one. */
static void verify_ec(void)
{
    static CK_OBJECT_HANDLE public;
    static CK_BYTE signature[64];
    static unsigned turn;
    CK_MECHANISM mechanism = { CKM_ECDSA, NULL, 0 };
    CK_BYTE hash[32] = { 1 };
    CK_ULONG length = sizeof signature;

    if (turn == 0) {
        public = public_key(CKK_EC);
        MUST_GIVE(CKR_OK, p11->C_SignInit(session, &mechanism, key));
        MUST_GIVE(CKR_OK, p11->C_Sign(session, hash, sizeof hash, signature, &length));
        MUST(length == sizeof signature);
    }
    hash[31] = (CK_BYTE)(turn++ % 2);
    MUST_GIVE(CKR_OK, p11->C_VerifyInit(session, &mechanism, public));
    MUST_GIVE(hash[31] == 0 ? CKR_OK : CKR_SIGNATURE_INVALID,
              p11->C_Verify(session, hash, sizeof hash, signature, sizeof signature));
}

/* What RSA has encrypted is decrypted; every other time a damaged one, by which nobody learns anything. */
static void decrypt_rsa(void)
{
    static CK_BYTE sealed[512];
    static CK_ULONG sealed_length;
    static unsigned turn;
    CK_MECHANISM mechanism = { CKM_RSA_PKCS, NULL, 0 };
    CK_BYTE text[32] = "thirty-two bytes, as of a key...", opened[512];
    CK_ULONG length = sizeof opened;
    int damaged = turn++ % 2;

    if (sealed_length == 0) {
        sealed_length = sizeof sealed;
        MUST_GIVE(CKR_OK, p11->C_EncryptInit(session, &mechanism, public_key(CKK_RSA)));
        MUST_GIVE(CKR_OK, p11->C_Encrypt(session, text, sizeof text, sealed, &sealed_length));
    }
    sealed[sealed_length - 1] ^= (CK_BYTE)damaged;
    MUST_GIVE(CKR_OK, p11->C_DecryptInit(session, &mechanism, key));
    MUST_GIVE(CKR_OK, p11->C_Decrypt(session, sealed, sealed_length, opened, &length));
    sealed[sealed_length - 1] ^= (CK_BYTE)damaged;
    MUST((length == sizeof text && memcmp(opened, text, sizeof text) == 0) == !damaged);
}

/* A secret that is agreed on with oneself. */
static void derive(void)
{
    static CK_BYTE point[128];
    static CK_ULONG point_length;
    CK_OBJECT_CLASS class = CKO_SECRET_KEY;
    CK_KEY_TYPE type = CKK_GENERIC_SECRET;
    CK_ULONG length = 32;
    CK_ATTRIBUTE own = { CKA_EC_POINT, point, sizeof point };
    CK_ATTRIBUTE template[] = { { CKA_CLASS, &class, sizeof class },
                                { CKA_KEY_TYPE, &type, sizeof type },
                                { CKA_VALUE_LEN, &length, sizeof length } };
    CK_ECDH1_DERIVE_PARAMS parameters = { CKD_NULL, 0, NULL, 0, NULL };
    CK_MECHANISM mechanism = { CKM_ECDH1_DERIVE, &parameters, sizeof parameters };
    CK_OBJECT_HANDLE secret;

    if (point_length == 0) {
        MUST_GIVE(CKR_OK, p11->C_GetAttributeValue(session, public_key(CKK_EC), &own, 1));
        point_length = own.ulValueLen;
    }
    /* It is in an OCTET STRING of less than 128 bytes. */
    parameters.pPublicData = point + 2;
    parameters.ulPublicDataLen = point_length - 2;
    MUST_GIVE(CKR_OK, p11->C_DeriveKey(session, &mechanism, key, template, 3, &secret));
    MUST_GIVE(CKR_OK, p11->C_DestroyObject(session, secret));
}

/* An AES key from its creation to its end: encrypts, decrypts, and tells what it is. */
static void objects(void)
{
    CK_OBJECT_CLASS class = CKO_SECRET_KEY;
    CK_KEY_TYPE type = CKK_AES;
    CK_BYTE value[32] = { 1, 2, 3 }, name[] = "another name", text[20] = "twenty bytes of text";
    CK_BYTE iv[16] = { 4 }, sealed[32], opened[32];
    CK_ULONG sealed_length = sizeof sealed, opened_length = sizeof opened, count = 0;
    CK_ATTRIBUTE template[] = { { CKA_CLASS, &class, sizeof class },
                                { CKA_KEY_TYPE, &type, sizeof type },
                                { CKA_VALUE, value, sizeof value },
                                { CKA_LABEL, "a name", 6 } };
    CK_ATTRIBUTE label = { CKA_LABEL, name, sizeof name - 1 };
    CK_MECHANISM mechanism = { CKM_AES_CBC_PAD, iv, sizeof iv };
    CK_OBJECT_HANDLE secret, copy, found[2];

    MUST_GIVE(CKR_OK, p11->C_CreateObject(session, template, 4, &secret));
    MUST_GIVE(CKR_OK, p11->C_CopyObject(session, secret, NULL, 0, &copy));
    MUST_GIVE(CKR_OK, p11->C_SetAttributeValue(session, copy, &label, 1));
    MUST_GIVE(CKR_OK, p11->C_FindObjectsInit(session, &label, 1));
    MUST_GIVE(CKR_OK, p11->C_FindObjects(session, found, 2, &count));
    MUST_GIVE(CKR_OK, p11->C_FindObjectsFinal(session));
    MUST(count == 1 && found[0] == copy);
    MUST_GIVE(CKR_OK, p11->C_EncryptInit(session, &mechanism, secret));
    MUST_GIVE(CKR_OK, p11->C_Encrypt(session, text, sizeof text, sealed, &sealed_length));
    MUST_GIVE(CKR_OK, p11->C_DecryptInit(session, &mechanism, copy));
    MUST_GIVE(CKR_OK, p11->C_Decrypt(session, sealed, sealed_length, opened, &opened_length));
    MUST(opened_length == sizeof text && memcmp(opened, text, sizeof text) == 0);
    MUST_GIVE(CKR_OK, p11->C_DestroyObject(session, copy));
    MUST_GIVE(CKR_OK, p11->C_DestroyObject(session, secret));
}

/* A secret key and a pair of keys, made and destroyed. */
static void generate(void)
{
    CK_ULONG length = 32;
    CK_BYTE p256[] = { 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7 };
    CK_ATTRIBUTE secret_template = { CKA_VALUE_LEN, &length, sizeof length };
    CK_ATTRIBUTE pair_template = { CKA_EC_PARAMS, p256, sizeof p256 };
    CK_MECHANISM aes = { CKM_AES_KEY_GEN, NULL, 0 }, ec = { CKM_EC_KEY_PAIR_GEN, NULL, 0 };
    CK_OBJECT_HANDLE secret, public, private;

    MUST_GIVE(CKR_OK, p11->C_GenerateKey(session, &aes, &secret_template, 1, &secret));
    MUST_GIVE(CKR_OK, p11->C_GenerateKeyPair(session, &ec, &pair_template, 1, NULL, 0, &public, &private));
    MUST_GIVE(CKR_OK, p11->C_DestroyObject(session, secret));
    MUST_GIVE(CKR_OK, p11->C_DestroyObject(session, public));
    MUST_GIVE(CKR_OK, p11->C_DestroyObject(session, private));
}

/* A search by CKA_ID, and one for everything that is left before it ends. */
static void find(void)
{
    CK_ATTRIBUTE wanted = { CKA_ID, id, id_length };
    CK_OBJECT_HANDLE found[8];
    CK_ULONG count = 0;

    MUST_GIVE(CKR_OK, p11->C_FindObjectsInit(session, &wanted, 1));
    MUST_GIVE(CKR_OK, p11->C_FindObjects(session, found, 8, &count));
    MUST_GIVE(CKR_OK, p11->C_FindObjectsFinal(session));
    MUST(count >= 2);
    MUST_GIVE(CKR_OK, p11->C_FindObjectsInit(session, NULL, 0));
    MUST_GIVE(CKR_OK, p11->C_FindObjects(session, found, 1, &count));
    MUST_GIVE(CKR_OK, p11->C_FindObjectsFinal(session));
    MUST(count == 1);
}

static void attributes(void)
{
    CK_BYTE value[4096];
    CK_ATTRIBUTE wanted[] = { { CKA_VALUE, value, sizeof value }, { CKA_ID, id, sizeof id } };
    CK_ATTRIBUTE secret = { CKA_VALUE, value, sizeof value };

    MUST_GIVE(CKR_OK, p11->C_GetAttributeValue(session, certificate, wanted, 2));
    MUST_GIVE(CKR_ATTRIBUTE_SENSITIVE, p11->C_GetAttributeValue(session, key, &secret, 1));
}

/* A login, a signature and a logout; every other time with a wrong PIN in between. */
static void log_in_and_out(void)
{
    static unsigned turn;

    if (turn++ % 2 == 0)
        MUST_GIVE(CKR_PIN_INCORRECT, p11->C_Login(session, CKU_USER, (CK_UTF8CHAR *)"wrong", 5));
    MUST_GIVE(CKR_OK, p11->C_Login(session, CKU_USER, (CK_UTF8CHAR *)pin, strlen(pin)));
    sign(p11, session, key, CKM_ECDSA);
    MUST_GIVE(CKR_OK, p11->C_Logout(session));
}

static void open_and_close(void)
{
    CK_SESSION_HANDLE one;

    MUST_GIVE(CKR_OK, p11->C_OpenSession(slot_of(p11, label), CKF_SERIAL_SESSION, NULL, NULL, &one));
    sign(p11, one, key, CKM_ECDSA);
    MUST_GIVE(CKR_OK, p11->C_CloseSession(one));
}

/* From C_Initialize to C_Finalize; the session that was open before is gone. */
static void initialize_and_finalize(void)
{
    MUST_GIVE(CKR_OK, p11->C_Finalize(NULL));
    MUST_GIVE(CKR_OK, p11->C_Initialize(NULL));
    session = logged_in(p11, label, pin);
    key = private_key(p11, session, CKK_EC);
    sign_ec();
}

static const struct {
    const char *name;
    void (*once)(void);
    CK_KEY_TYPE key;
    int logged_out;
} things[] = {
    { "sign-rsa", sign_rsa, CKK_RSA, 0 },
    { "sign-rsa-pss", sign_rsa_pss, CKK_RSA, 0 },
    { "sign-ec", sign_ec, CKK_EC, 0 },
    { "sign-ed25519", sign_ed25519, CKK_EC_EDWARDS, 0 },
    { "verify-ec", verify_ec, CKK_EC, 0 },
    { "decrypt-rsa", decrypt_rsa, CKK_RSA, 0 },
    { "derive", derive, CKK_EC, 0 },
    { "objects", objects, CKK_EC, 0 },
    { "generate", generate, CKK_EC, 0 },
    { "find", find, CKK_EC, 0 },
    { "attributes", attributes, CKK_EC, 0 },
    { "login", log_in_and_out, CKK_EC, 1 },
    { "session", open_and_close, CKK_EC, 0 },
    { "initialize", initialize_and_finalize, CKK_EC, 0 },
};

/* The certificate of the key, found by their common CKA_ID. */
static CK_OBJECT_HANDLE certificate_of(CK_OBJECT_HANDLE of)
{
    CK_OBJECT_CLASS class = CKO_CERTIFICATE;
    CK_ATTRIBUTE own = { CKA_ID, id, sizeof id };
    CK_ATTRIBUTE wanted[] = { { CKA_CLASS, &class, sizeof class }, { CKA_ID, id, 0 } };
    CK_OBJECT_HANDLE found = CK_INVALID_HANDLE;
    CK_ULONG count = 0;

    MUST_GIVE(CKR_OK, p11->C_GetAttributeValue(session, of, &own, 1));
    id_length = wanted[1].ulValueLen = own.ulValueLen;
    MUST_GIVE(CKR_OK, p11->C_FindObjectsInit(session, wanted, 2));
    MUST_GIVE(CKR_OK, p11->C_FindObjects(session, &found, 1, &count));
    MUST_GIVE(CKR_OK, p11->C_FindObjectsFinal(session));
    MUST(count == 1);
    return found;
}

static size_t heap(void)
{
    struct mallinfo2 now = mallinfo2();

    return now.uordblks + now.hblkhd;
}

static void mark(void)
{
    MUST(write(-1, "mark", 4) == -1);
}

int main(int count, char **arguments)
{
    unsigned long rounds, round;
    size_t at = 0, before, after;

    MUST(count == 5);
    label = arguments[2];
    pin = getenv("TEST_PIN");
    MUST(pin != NULL);
    rounds = strtoul(arguments[4], NULL, 10);
    while (strcmp(things[at].name, arguments[3]) != 0)
        MUST(++at < sizeof things / sizeof *things);
    p11 = load(arguments[1]);
    MUST_GIVE(CKR_OK, p11->C_Initialize(NULL));
    session = logged_in(p11, label, pin);
    key = private_key(p11, session, things[at].key);
    certificate = certificate_of(key);
    if (things[at].logged_out)
        MUST_GIVE(CKR_OK, p11->C_Logout(session));

    /* What is made once is made now. */
    for (round = 0; round < (rounds < 100 ? 1 : 100); round++)
        things[at].once();
    before = heap();
    mark();
    for (round = 0; round < rounds; round++)
        things[at].once();
    mark();
    after = heap();
    printf("%ld\n", (long)after - (long)before);
    MUST_GIVE(CKR_OK, p11->C_Finalize(NULL));
    return 0;
}
