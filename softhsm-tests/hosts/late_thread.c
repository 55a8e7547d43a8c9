/* A thread that has used the module ends after dlclose: its destructors must still have code to run. */
#include "host.h"

static CK_FUNCTION_LIST *p11;
static pthread_barrier_t used, closed;

static void *work(void *nothing)
{
    use(p11);
    pthread_barrier_wait(&used);
    pthread_barrier_wait(&closed);
    return nothing;
}

int main(void)
{
    int round;

    for (round = 0; round < 20; round++) {
        void *module = open_module();
        pthread_t thread;

        p11 = functions(module);
        pthread_barrier_init(&used, NULL, 2);
        pthread_barrier_init(&closed, NULL, 2);
        MUST(pthread_create(&thread, NULL, work, NULL) == 0);
        pthread_barrier_wait(&used);
        MUST_GIVE(CKR_OK, p11->C_Finalize(NULL));
        MUST(dlclose(module) == 0);
        pthread_barrier_wait(&closed);
        MUST(pthread_join(thread, NULL) == 0);
    }
    return 0;
}
