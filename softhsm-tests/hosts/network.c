/* A program that uses one token as it is told, a line at a time, and says for each what came of it:

     initialize, finalize, list
     open LABEL          a session on the token of this label
     close               ends it, and its login
     objects             its objects, each found and its label read
     key LABEL           the private key to use
     login PIN, context PIN, logout
     plain, pss HASH MGF SALT, oaep HASH MGF, ecdh POINT       the parameter of the mechanisms to come
     init MECHANISM      C_SignInit, and nothing of it is left
     sign, decrypt, derive MECHANISM DATA
     threads N TIMES MECHANISM DATA     so many threads, each with a session of its own
     child MECHANISM DATA               the same in a forked child, from C_Initialize on
     beside MECHANISM DATA PIN          a thread signs; while it does, a login to the token "file" and a signature with its first key;
                                        1 if the thread has not come to its end then
     memory              the most memory that the process had, in KiB

   The answer is the CK_RV in hexadecimal, how many milliseconds it took, and what else there is to say. Mechanisms, numbers and data
   are hexadecimal; data that is empty is a dash. */
#include "host.h"
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#define ROOM 8192

static CK_FUNCTION_LIST *p11;
static CK_SLOT_ID slot;
static CK_SESSION_HANDLE session;
static CK_OBJECT_HANDLE key;
static char label[64], key_label[256];

static union {
    CK_RSA_PKCS_PSS_PARAMS pss;
    CK_RSA_PKCS_OAEP_PARAMS oaep;
    CK_ECDH1_DERIVE_PARAMS ecdh;
} parameter;
static CK_ULONG parameter_length;
static CK_BYTE point[256];

static size_t unhex(const char *text, CK_BYTE *bytes)
{
    size_t length = 0;
    unsigned byte;

    while (length < ROOM && sscanf(text + 2 * length, "%2x", &byte) == 1)
        bytes[length++] = (CK_BYTE)byte;
    return length;
}

static uint64_t now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000 + (uint64_t)time.tv_nsec / 1000000;
}

static CK_MECHANISM mechanism_of(const char *text)
{
    CK_MECHANISM mechanism = { strtoul(text, NULL, 16), NULL, parameter_length };

    if (parameter_length > 0)
        mechanism.pParameter = &parameter;
    return mechanism;
}

static CK_RV open_token(void)
{
    CK_SLOT_ID slots[64];
    CK_ULONG count = 64, at;
    CK_RV rv = p11->C_GetSlotList(CK_TRUE, slots, &count);

    for (at = 0; rv == CKR_OK && at < count; at++) {
        CK_TOKEN_INFO info;
        CK_BYTE padded[32];

        memset(padded, ' ', sizeof padded);
        memcpy(padded, label, strlen(label));
        rv = p11->C_GetTokenInfo(slots[at], &info);
        if (rv == CKR_OK && memcmp(info.label, padded, sizeof padded) == 0) {
            slot = slots[at];
            return p11->C_OpenSession(slot, CKF_SERIAL_SESSION, NULL, NULL, &session);
        }
    }
    return rv == CKR_OK ? CKR_TOKEN_NOT_PRESENT : rv;
}

static CK_RV find_key(void)
{
    CK_OBJECT_CLASS class = CKO_PRIVATE_KEY;
    CK_ATTRIBUTE wanted[] = { { CKA_CLASS, &class, sizeof class }, { CKA_LABEL, key_label, strlen(key_label) } };
    CK_ULONG count = 0;
    CK_RV rv = p11->C_FindObjectsInit(session, wanted, 2);

    if (rv == CKR_OK)
        rv = p11->C_FindObjects(session, &key, 1, &count);
    if (rv == CKR_OK)
        rv = p11->C_FindObjectsFinal(session);
    return rv == CKR_OK && count == 0 ? CKR_KEY_HANDLE_INVALID : rv;
}

static CK_RV count_objects(CK_ULONG *all)
{
    CK_OBJECT_HANDLE found[256];
    CK_ULONG count = 0, at;
    CK_RV rv = p11->C_FindObjectsInit(session, NULL, 0);

    *all = 0;
    while (rv == CKR_OK && (rv = p11->C_FindObjects(session, found, 256, &count)) == CKR_OK && count > 0)
        for (at = 0; at < count; at++, ++*all) {
            char text[256];
            CK_ATTRIBUTE wanted = { CKA_LABEL, text, sizeof text };

            MUST_GIVE(CKR_OK, p11->C_GetAttributeValue(session, found[at], &wanted, 1));
        }
    return rv == CKR_OK ? p11->C_FindObjectsFinal(session) : rv;
}

/* As every program that takes no for an answer: what is begun and fails is over. */
static CK_RV sign_with(CK_SESSION_HANDLE with, const char *mechanism, const char *data, CK_BYTE *out, CK_ULONG *length)
{
    CK_MECHANISM how = mechanism_of(mechanism);
    CK_BYTE input[ROOM];
    size_t input_length = unhex(data, input);
    CK_RV rv = p11->C_SignInit(with, &how, key);

    return rv == CKR_OK ? p11->C_Sign(with, input, input_length, out, length) : rv;
}

static CK_RV decrypt_with(const char *mechanism, const char *data, CK_BYTE *out, CK_ULONG *length)
{
    CK_MECHANISM how = mechanism_of(mechanism);
    CK_BYTE input[ROOM];
    size_t input_length = unhex(data, input);
    CK_RV rv = p11->C_DecryptInit(session, &how, key);

    return rv == CKR_OK ? p11->C_Decrypt(session, input, input_length, out, length) : rv;
}

static CK_RV derive_with(const char *mechanism, CK_BYTE *out, CK_ULONG *length)
{
    CK_MECHANISM how = mechanism_of(mechanism);
    CK_OBJECT_CLASS class = CKO_SECRET_KEY;
    CK_KEY_TYPE type = CKK_GENERIC_SECRET;
    CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
    CK_ATTRIBUTE wanted[] = {
        { CKA_CLASS, &class, sizeof class },
        { CKA_KEY_TYPE, &type, sizeof type },
        { CKA_EXTRACTABLE, &yes, 1 },
        { CKA_SENSITIVE, &no, 1 },
    };
    CK_ATTRIBUTE value = { CKA_VALUE, out, *length };
    CK_OBJECT_HANDLE secret;
    CK_RV rv = p11->C_DeriveKey(session, &how, key, wanted, 4, &secret);

    if (rv == CKR_OK)
        rv = p11->C_GetAttributeValue(session, secret, &value, 1);
    *length = value.ulValueLen;
    return rv;
}

struct worker {
    pthread_t thread;
    const char *mechanism, *data;
    int times, good;
    CK_RV rv; /* the last that is not CKR_OK */
    atomic_bool done;
};

static void *work(void *argument)
{
    struct worker *worker = argument;
    CK_SESSION_HANDLE own;
    int at;

    worker->rv = p11->C_OpenSession(slot, CKF_SERIAL_SESSION, NULL, NULL, &own);
    for (at = 0; worker->rv == CKR_OK && at < worker->times; at++) {
        CK_BYTE out[ROOM];
        CK_ULONG length = ROOM;
        CK_RV rv = sign_with(own, worker->mechanism, worker->data, out, &length);

        if (rv == CKR_OK)
            worker->good++;
        else
            worker->rv = rv;
        /* One that fails goes on: what it asks later must work again. */
        if (rv != CKR_OK && at + 1 < worker->times)
            worker->rv = CKR_OK;
    }
    worker->done = true;
    return NULL;
}

static CK_RV in_threads(int count, int times, const char *mechanism, const char *data, int *good)
{
    struct worker workers[64] = { 0 };
    CK_RV rv = CKR_OK;
    int at;

    MUST(count <= 64);
    *good = 0;
    for (at = 0; at < count; at++) {
        workers[at] = (struct worker){ 0, mechanism, data, times, 0, CKR_OK, false };
        MUST(pthread_create(&workers[at].thread, NULL, work, &workers[at]) == 0);
    }
    for (at = 0; at < count; at++) {
        MUST(pthread_join(workers[at].thread, NULL) == 0);
        *good += workers[at].good;
        if (workers[at].rv != CKR_OK)
            rv = workers[at].rv;
    }
    return rv;
}

/* Opens the same token anew, which a child has to, and signs. */
static CK_RV in_child(const char *mechanism, const char *data, CK_BYTE *out, CK_ULONG *length)
{
    struct {
        CK_RV rv;
        CK_ULONG length;
        CK_BYTE out[ROOM];
    } answer = { CKR_GENERAL_ERROR, 0, { 0 } };
    int ends[2];
    pid_t child;

    MUST(pipe(ends) == 0);
    child = fork();
    MUST(child >= 0);
    if (child == 0) {
        answer.rv = p11->C_Initialize(NULL);
        if (answer.rv == CKR_OK)
            answer.rv = open_token();
        if (answer.rv == CKR_OK)
            answer.rv = find_key();
        answer.length = ROOM;
        if (answer.rv == CKR_OK)
            answer.rv = sign_with(session, mechanism, data, answer.out, &answer.length);
        MUST(write(ends[1], &answer, sizeof answer) == sizeof answer);
        MUST_GIVE(CKR_OK, p11->C_Finalize(NULL));
        exit(0);
    }
    close(ends[1]);
    for (size_t got = 0; got < sizeof answer;) {
        ssize_t part = read(ends[0], (char *)&answer + got, sizeof answer - got);
        MUST(part > 0);
        got += (size_t)part;
    }
    close(ends[0]);
    child_ends(child);
    memcpy(out, answer.out, answer.length);
    *length = answer.length;
    return answer.rv;
}

static CK_RV beside(const char *mechanism, const char *data, const char *pin, bool *was_first)
{
    struct worker worker = { 0, mechanism, data, 1, 0, CKR_OK, false };
    CK_SLOT_ID network = slot;
    CK_BYTE out[ROOM];
    CK_ULONG length = ROOM;
    CK_RV rv;

    MUST(pthread_create(&worker.thread, NULL, work, &worker) == 0);
    /* Time for the thread to be in the middle of it, which it then is for some seconds. */
    usleep(200000);
    strcpy(label, "file");
    rv = open_token();
    if (rv == CKR_OK)
        rv = p11->C_Login(session, CKU_USER, (CK_UTF8CHAR *)pin, strlen(pin));
    if (rv == CKR_OK) {
        key = private_key(p11, session);
        rv = sign_with(session, mechanism, data, out, &length);
    }
    *was_first = !worker.done;
    MUST(pthread_join(worker.thread, NULL) == 0);
    MUST(worker.rv != CKR_OK);
    slot = network;
    return rv;
}

static long most_memory(void)
{
    FILE *file = fopen("/proc/self/status", "r");
    char line[256];
    long most = 0;

    MUST(file != NULL);
    while (fgets(line, sizeof line, file) != NULL)
        sscanf(line, "VmHWM: %ld", &most);
    fclose(file);
    MUST(most > 0);
    return most;
}

static void set_parameter(const char *verb, const char *words)
{
    unsigned long a = 0, b = 0, c = 0;

    memset(&parameter, 0, sizeof parameter);
    parameter_length = 0;
    if (strcmp(verb, "pss") == 0 && sscanf(words, "%lx %lx %lx", &a, &b, &c) == 3) {
        parameter.pss = (CK_RSA_PKCS_PSS_PARAMS){ a, b, c };
        parameter_length = sizeof parameter.pss;
    } else if (strcmp(verb, "oaep") == 0 && sscanf(words, "%lx %lx", &a, &b) == 2) {
        parameter.oaep = (CK_RSA_PKCS_OAEP_PARAMS){ a, b, CKZ_DATA_SPECIFIED, NULL, 0 };
        parameter_length = sizeof parameter.oaep;
    } else if (strcmp(verb, "ecdh") == 0) {
        CK_BYTE bytes[ROOM];
        size_t length = unhex(words, bytes);

        MUST(length <= sizeof point);
        memcpy(point, bytes, length);
        parameter.ecdh = (CK_ECDH1_DERIVE_PARAMS){ CKD_NULL, 0, NULL, length, point };
        parameter_length = sizeof parameter.ecdh;
    } else
        MUST(strcmp(verb, "plain") == 0);
}

static void say(CK_RV rv, uint64_t started, const CK_BYTE *out, CK_ULONG length)
{
    CK_ULONG at;

    printf("%lx %lu ", rv, (unsigned long)(now() - started));
    for (at = 0; rv == CKR_OK && at < length; at++)
        printf("%02x", out[at]);
    puts("");
    fflush(stdout);
}

static void say_number(CK_RV rv, uint64_t started, long number)
{
    printf("%lx %lu %ld\n", rv, (unsigned long)(now() - started), number);
    fflush(stdout);
}

static void do_line(char *line)
{
    static char data[2 * ROOM + 1], mechanism[32];
    char *verb = strsep(&line, " "), *words = line == NULL ? (char *)"" : line;
    CK_BYTE out[ROOM];
    CK_ULONG length = ROOM, count = 0;
    uint64_t started = now();
    int threads = 0, times = 0, good = 0;

    mechanism[0] = data[0] = 0;
    if (strcmp(verb, "initialize") == 0)
        say_number(p11->C_Initialize(NULL), started, 0);
    else if (strcmp(verb, "finalize") == 0)
        say_number(p11->C_Finalize(NULL), started, 0);
    else if (strcmp(verb, "list") == 0) {
        CK_RV rv = p11->C_GetSlotList(CK_TRUE, NULL, &count);
        say_number(rv, started, (long)count);
    } else if (strcmp(verb, "open") == 0) {
        snprintf(label, sizeof label, "%.32s", words);
        say_number(open_token(), started, 0);
    } else if (strcmp(verb, "close") == 0)
        say_number(p11->C_CloseSession(session), started, 0);
    else if (strcmp(verb, "objects") == 0) {
        CK_RV rv = count_objects(&count);
        say_number(rv, started, (long)count);
    } else if (strcmp(verb, "key") == 0) {
        snprintf(key_label, sizeof key_label, "%s", words);
        say_number(find_key(), started, 0);
    } else if (strcmp(verb, "login") == 0)
        say_number(p11->C_Login(session, CKU_USER, (CK_UTF8CHAR *)words, strlen(words)), started, 0);
    else if (strcmp(verb, "context") == 0)
        say_number(p11->C_Login(session, CKU_CONTEXT_SPECIFIC, (CK_UTF8CHAR *)words, strlen(words)), started, 0);
    else if (strcmp(verb, "logout") == 0)
        say_number(p11->C_Logout(session), started, 0);
    else if (strcmp(verb, "memory") == 0)
        say_number(CKR_OK, started, most_memory());
    else if (strcmp(verb, "init") == 0) {
        CK_MECHANISM how = mechanism_of(words);
        CK_RV rv = p11->C_SignInit(session, &how, key);

        if (rv == CKR_OK) {
            MUST_GIVE(CKR_OK, p11->C_CloseSession(session));
            MUST_GIVE(CKR_OK, open_token());
            MUST_GIVE(CKR_OK, find_key());
        }
        say_number(rv, started, 0);
    } else if (strcmp(verb, "threads") == 0) {
        MUST(sscanf(words, "%x %x %31s %16384s", &threads, &times, mechanism, data) == 4);
        CK_RV rv = in_threads(threads, times, mechanism, data, &good);
        say_number(rv, started, good);
    } else if (strcmp(verb, "beside") == 0) {
        int at = 0;
        bool was_first = false;

        MUST(sscanf(words, "%31s %16384s %n", mechanism, data, &at) == 2);
        CK_RV rv = beside(mechanism, data, words + at, &was_first);
        say_number(rv, started, was_first);
    } else if (sscanf(words, "%31s %16384s", mechanism, data) >= 1 && strcmp(verb, "sign") == 0) {
        CK_RV rv = sign_with(session, mechanism, data, out, &length);
        say(rv, started, out, length);
    } else if (strcmp(verb, "decrypt") == 0) {
        CK_RV rv = decrypt_with(mechanism, data, out, &length);
        say(rv, started, out, length);
    } else if (strcmp(verb, "derive") == 0) {
        CK_RV rv = derive_with(mechanism, out, &length);
        say(rv, started, out, length);
    } else if (strcmp(verb, "child") == 0) {
        CK_RV rv = in_child(mechanism, data, out, &length);
        say(rv, started, out, length);
    } else {
        set_parameter(verb, words);
        say_number(CKR_OK, started, 0);
    }
}

int main(void)
{
    static char line[2 * ROOM + 256];

    p11 = functions(open_module());
    while (fgets(line, sizeof line, stdin) != NULL) {
        line[strcspn(line, "\n")] = 0;
        do_line(line);
    }
    return 0;
}
