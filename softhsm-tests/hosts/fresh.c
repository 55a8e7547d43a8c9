/* A fresh process that lists what a module has, as completion scripts and browsers do when they start.

   fresh [MODULE [LABEL]]   prints CPU time and time from dlopen to C_Finalize in nanoseconds, the most memory that the process had
                            in KiB, how many tokens and objects it saw, the time from C_Initialize until they were listed, and how
                            long the objects of the token LABEL take when they are listed again, of 100 times. Without a module: an
                            empty process. */
#include "measured.h"

#define TIMES 100

static CK_ULONG objects_of(CK_FUNCTION_LIST *p11, CK_SLOT_ID slot)
{
    CK_SESSION_HANDLE session;
    CK_OBJECT_HANDLE found[64];
    CK_ULONG all = 0, count, at;

    MUST_GIVE(CKR_OK, p11->C_OpenSession(slot, CKF_SERIAL_SESSION, NULL, NULL, &session));
    MUST_GIVE(CKR_OK, p11->C_FindObjectsInit(session, NULL, 0));
    do {
        MUST_GIVE(CKR_OK, p11->C_FindObjects(session, found, 64, &count));
        for (at = 0; at < count; at++) {
            CK_OBJECT_CLASS class;
            CK_BYTE label[256], id[256];
            CK_ATTRIBUTE wanted[] = {
                { CKA_CLASS, &class, sizeof class }, { CKA_LABEL, label, sizeof label }, { CKA_ID, id, sizeof id }
            };

            (void)p11->C_GetAttributeValue(session, found[at], wanted, 3);
        }
        all += count;
    } while (count > 0);
    MUST_GIVE(CKR_OK, p11->C_FindObjectsFinal(session));
    MUST_GIVE(CKR_OK, p11->C_CloseSession(session));
    return all;
}

static long peak_kib(void)
{
    FILE *file = fopen("/proc/self/status", "r");
    char line[256];
    long peak = -1;

    MUST(file != NULL);
    while (fgets(line, sizeof line, file) != NULL)
        if (sscanf(line, "VmHWM: %ld", &peak) == 1)
            break;
    fclose(file);
    MUST(peak > 0);
    return peak;
}

int main(int count, char **arguments)
{
    uint64_t cpu = nanoseconds(CLOCK_PROCESS_CPUTIME_ID), wall = nanoseconds(CLOCK_MONOTONIC);
    uint64_t listed = 0, of_token = 0;
    CK_ULONG tokens = 0, objects = 0, at;

    if (count > 1) {
        CK_FUNCTION_LIST *p11 = load(arguments[1]);
        CK_SLOT_ID slots[64];

        listed = nanoseconds(CLOCK_MONOTONIC);
        MUST_GIVE(CKR_OK, p11->C_Initialize(NULL));
        tokens = 64;
        MUST_GIVE(CKR_OK, p11->C_GetSlotList(CK_TRUE, slots, &tokens));
        for (at = 0; at < tokens; at++) {
            CK_SLOT_INFO slot;
            CK_TOKEN_INFO token;

            MUST_GIVE(CKR_OK, p11->C_GetSlotInfo(slots[at], &slot));
            MUST_GIVE(CKR_OK, p11->C_GetTokenInfo(slots[at], &token));
            if (token.flags & CKF_TOKEN_INITIALIZED)
                objects += objects_of(p11, slots[at]);
        }
        listed = nanoseconds(CLOCK_MONOTONIC) - listed;
        if (count > 2) {
            CK_SLOT_ID slot = slot_of(p11, arguments[2]);

            of_token = nanoseconds(CLOCK_MONOTONIC);
            for (at = 0; at < TIMES; at++)
                MUST(objects_of(p11, slot) > 0);
            of_token = (nanoseconds(CLOCK_MONOTONIC) - of_token) / TIMES;
        }
        MUST_GIVE(CKR_OK, p11->C_Finalize(NULL));
    }
    cpu = nanoseconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    wall = nanoseconds(CLOCK_MONOTONIC) - wall;
    printf("%lu %lu %ld %lu %lu %lu %lu\n", (unsigned long)cpu, (unsigned long)wall, peak_kib(), tokens, objects,
           (unsigned long)listed, (unsigned long)of_token);
    return 0;
}
