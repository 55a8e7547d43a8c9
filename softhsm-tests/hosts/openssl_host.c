/*
 * A host that itself runs on OpenSSL 3, whose openssl.cnf loads the pkcs11 engine with our module: OpenSSL reads that file
 * while it starts, and the module must not end up in itself. The host then signs by the engine and by the module, side by side.
 * With TEST_OPENSSL_FIRST OpenSSL starts before the host has loaded the module, and ends before the host does.
 */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "host.h"
#include <openssl/engine.h>

int main(void)
{
    int openssl_first = getenv("TEST_OPENSSL_FIRST") != NULL;
    CK_FUNCTION_LIST *p11 = NULL;
    const unsigned char message[] = "a message";
    unsigned char signature[256];
    size_t length = sizeof signature;
    CK_RV rv;
    CK_SESSION_HANDLE session;
    ENGINE *engine;
    EVP_PKEY *key, *public;
    EVP_MD_CTX *context;

    /* OpenSSL's start reads openssl.cnf. The engine initialises the module when it is asked for a key, if the host has not. */
    if (!openssl_first) {
        p11 = functions(open_module());
        MUST_GIVE(CKR_OK, p11->C_Initialize(NULL));
    }
    MUST(OPENSSL_init_crypto(OPENSSL_INIT_LOAD_CONFIG, NULL) == 1);
    engine = ENGINE_by_id("pkcs11");
    MUST(engine != NULL);
    MUST(ENGINE_init(engine) == 1);
    key = ENGINE_load_private_key(engine, variable("TEST_KEY"), NULL, NULL);
    MUST(key != NULL);
    if (openssl_first) {
        p11 = functions(open_module());
        MUST_GIVE(CKR_CRYPTOKI_ALREADY_INITIALIZED, p11->C_Initialize(NULL));
    }
    context = EVP_MD_CTX_new();
    MUST(EVP_DigestSignInit(context, NULL, EVP_sha256(), NULL, key) == 1);
    MUST(EVP_DigestSign(context, signature, &length, message, sizeof message) == 1);
    EVP_MD_CTX_free(context);

    /* By a key of its own: the engine's might ask the engine. */
    public = public_key();
    context = EVP_MD_CTX_new();
    MUST(EVP_DigestVerifyInit(context, NULL, EVP_sha256(), NULL, public) == 1);
    MUST(EVP_DigestVerify(context, signature, length, message, sizeof message) == 1);
    EVP_MD_CTX_free(context);
    context = EVP_MD_CTX_new();
    MUST(EVP_DigestVerifyInit(context, NULL, EVP_sha256(), NULL, public) == 1);
    MUST(EVP_DigestVerify(context, signature, length, message, sizeof message - 1) != 1);
    EVP_MD_CTX_free(context);
    EVP_PKEY_free(public);

    /* The engine has logged in: the login is the process's. */
    session = open_session(p11);
    rv = p11->C_Login(session, CKU_USER, (CK_UTF8CHAR *)variable("TEST_PIN"), strlen(variable("TEST_PIN")));
    MUST(rv == CKR_OK || rv == CKR_USER_ALREADY_LOGGED_IN);
    sign(p11, session, private_key(p11, session));

    EVP_PKEY_free(key);
    ENGINE_finish(engine);
    ENGINE_free(engine);
    /* Nobody calls C_Finalize: OpenSSL's own exit does what it does. */
    if (openssl_first)
        OPENSSL_cleanup();
    return 0;
}
