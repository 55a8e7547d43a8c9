/* The calls of a program that uses a card, for counting what they cost on the wire.

   card_calls slots                    C_Initialize and the list of slots with a token.
   card_calls sign ID MECHANISM COUNT  a login, and so many signatures with the key of this CKA_ID: rsa (CKM_RSA_PKCS over a DigestInfo of
                                       SHA-256) or ecdsa (CKM_ECDSA over 32 bytes). A key that wants the PIN each time gets it. */
#include "host.h"

static const CK_BYTE digest_info[] = { 0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65,
                                       0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20 };

static void slots(CK_FUNCTION_LIST *p11)
{
    CK_SLOT_ID slots[16];
    CK_ULONG count = 0;

    MUST_GIVE(CKR_OK, p11->C_GetSlotList(CK_TRUE, NULL, &count));
    MUST(count == 1);
    MUST_GIVE(CKR_OK, p11->C_GetSlotList(CK_TRUE, slots, &count));
    MUST(count == 1);
}

static CK_OBJECT_HANDLE find(CK_FUNCTION_LIST *p11, CK_SESSION_HANDLE session, CK_BYTE id)
{
    CK_OBJECT_CLASS class = CKO_PRIVATE_KEY;
    CK_ATTRIBUTE wanted[] = { { CKA_CLASS, &class, sizeof class }, { CKA_ID, &id, sizeof id } };
    CK_OBJECT_HANDLE key = CK_INVALID_HANDLE;
    CK_ULONG count = 0;

    MUST_GIVE(CKR_OK, p11->C_FindObjectsInit(session, wanted, 2));
    MUST_GIVE(CKR_OK, p11->C_FindObjects(session, &key, 1, &count));
    MUST_GIVE(CKR_OK, p11->C_FindObjectsFinal(session));
    MUST(count == 1);
    return key;
}

static void sign_each(CK_FUNCTION_LIST *p11, CK_BYTE id, int is_rsa, unsigned long count)
{
    CK_MECHANISM mechanism = { is_rsa ? CKM_RSA_PKCS : CKM_ECDSA, NULL, 0 };
    const char *pin = variable("TEST_PIN");
    CK_BYTE data[sizeof digest_info + 32], signature[512];
    CK_BBOOL each_time = CK_FALSE;
    CK_ATTRIBUTE asked = { CKA_ALWAYS_AUTHENTICATE, &each_time, sizeof each_time };
    CK_SESSION_HANDLE session = open_session(p11);
    CK_OBJECT_HANDLE key;
    size_t skipped = is_rsa ? 0 : sizeof digest_info;

    memcpy(data, digest_info, sizeof digest_info);
    memset(data + sizeof digest_info, 0xa5, 32);
    log_in(p11, session);
    key = find(p11, session, id);
    MUST_GIVE(CKR_OK, p11->C_GetAttributeValue(session, key, &asked, 1));
    while (count-- > 0) {
        CK_ULONG length = sizeof signature;

        MUST_GIVE(CKR_OK, p11->C_SignInit(session, &mechanism, key));
        if (each_time)
            MUST_GIVE(CKR_OK, p11->C_Login(session, CKU_CONTEXT_SPECIFIC, (CK_UTF8CHAR *)pin, strlen(pin)));
        MUST_GIVE(CKR_OK, p11->C_Sign(session, data + skipped, sizeof data - skipped, signature, &length));
        MUST(length == (is_rsa ? 256 : 64));
    }
}

int main(int count, char **arguments)
{
    CK_FUNCTION_LIST *p11 = functions(open_module());

    MUST_GIVE(CKR_OK, p11->C_Initialize(NULL));
    if (count == 2 && strcmp(arguments[1], "slots") == 0) {
        slots(p11);
    } else {
        MUST(count == 5 && strcmp(arguments[1], "sign") == 0);
        sign_each(p11, (CK_BYTE)strtoul(arguments[2], NULL, 16), strcmp(arguments[3], "rsa") == 0,
                  strtoul(arguments[4], NULL, 10));
    }
    MUST_GIVE(CKR_OK, p11->C_Finalize(NULL));
    return 0;
}
