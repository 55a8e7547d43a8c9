/* Children of a logged-in process: nothing is initialised in them until they do it, and the parent notices nothing. */
#include "host.h"

static void in_child(CK_FUNCTION_LIST *p11, CK_SESSION_HANDLE inherited)
{
    CK_SESSION_INFO info;
    CK_SESSION_HANDLE session;

    MUST_GIVE(CKR_CRYPTOKI_NOT_INITIALIZED, p11->C_GetSessionInfo(inherited, &info));
    MUST_GIVE(CKR_CRYPTOKI_NOT_INITIALIZED, p11->C_CloseSession(inherited));
    MUST_GIVE(CKR_CRYPTOKI_NOT_INITIALIZED, p11->C_Finalize(NULL));
    session = use(p11);
    MUST(session != inherited);
    MUST_GIVE(CKR_SESSION_HANDLE_INVALID, p11->C_GetSessionInfo(inherited, &info));
    MUST_GIVE(CKR_OK, p11->C_Finalize(NULL));
}

int main(void)
{
    CK_FUNCTION_LIST *p11 = functions(open_module());
    CK_SESSION_HANDLE session = use(p11);
    CK_OBJECT_HANDLE key = private_key(p11, session);
    pid_t children[8];
    int at;

    for (at = 0; at < 8; at++) {
        children[at] = fork();
        MUST(children[at] >= 0);
        if (children[at] == 0) {
            /* Even ones use the module; odd ones end by exit as they are, with all destructors. */
            if (at % 2 == 1)
                exit(0);
            in_child(p11, session);
            /* And a grandchild, as a daemon makes. */
            pid_t grandchild = fork();
            MUST(grandchild >= 0);
            if (grandchild == 0) {
                in_child(p11, session);
                exit(0);
            }
            child_ends(grandchild);
            exit(0);
        }
        sign(p11, session, key);
    }
    for (at = 0; at < 8; at++)
        child_ends(children[at]);
    sign(p11, session, key);
    MUST_GIVE(CKR_USER_ALREADY_LOGGED_IN, p11->C_Login(session, CKU_USER, (CK_UTF8CHAR *)"x", 1));
    MUST_GIVE(CKR_OK, p11->C_Finalize(NULL));
    return 0;
}
