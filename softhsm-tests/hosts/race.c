/* Threads race for C_Initialize: one gets CKR_OK, the others hear that it was done. Then C_Finalize ends under calls that run. */
#include "host.h"
#include <stdatomic.h>

enum { THREADS = 8, ROUNDS = 100 };

static CK_FUNCTION_LIST *p11;
static pthread_barrier_t start;
static atomic_int first;

static void *initialize(void *nothing)
{
    CK_RV rv;

    pthread_barrier_wait(&start);
    rv = p11->C_Initialize(NULL);
    if (rv == CKR_OK)
        atomic_fetch_add(&first, 1);
    else
        MUST(rv == CKR_CRYPTOKI_ALREADY_INITIALIZED);
    return nothing;
}

static void *call_until_finalized(void *nothing)
{
    CK_SLOT_ID slots[16];
    CK_ULONG count;
    CK_SESSION_HANDLE session;
    CK_RV rv;

    pthread_barrier_wait(&start);
    for (;;) {
        count = 16;
        rv = p11->C_GetSlotList(CK_TRUE, slots, &count);
        if (rv == CKR_OK)
            rv = p11->C_OpenSession(slots[0], CKF_SERIAL_SESSION, NULL, NULL, &session);
        if (rv == CKR_CRYPTOKI_NOT_INITIALIZED)
            return nothing;
        MUST(rv == CKR_OK);
    }
}

static void all(void *(*body)(void *), pthread_t *threads)
{
    int at;

    pthread_barrier_init(&start, NULL, THREADS + 1);
    for (at = 0; at < THREADS; at++)
        MUST(pthread_create(&threads[at], NULL, body, NULL) == 0);
    pthread_barrier_wait(&start);
}

static void join(pthread_t *threads)
{
    int at;

    for (at = 0; at < THREADS; at++)
        MUST(pthread_join(threads[at], NULL) == 0);
    pthread_barrier_destroy(&start);
}

int main(void)
{
    pthread_t threads[THREADS];
    int round;

    p11 = functions(open_module());
    for (round = 0; round < ROUNDS; round++) {
        atomic_store(&first, 0);
        all(initialize, threads);
        join(threads);
        MUST(atomic_load(&first) == 1);
        all(call_until_finalized, threads);
        MUST_GIVE(CKR_OK, p11->C_Finalize(NULL));
        join(threads);
    }
    return 0;
}
