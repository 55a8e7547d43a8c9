/* A module in front of the one that CTK_MODULE names: it says CKF_HW of each mechanism, so that `pkcs11-tool --test` tries those that sign. */
#include <ctk_pkcs11.h>
#include <dlfcn.h>
#include <stdlib.h>

static CK_FUNCTION_LIST *module;
static CK_FUNCTION_LIST list;

static CK_RV mechanism_info(CK_SLOT_ID slot, CK_MECHANISM_TYPE type, CK_MECHANISM_INFO *info)
{
    CK_RV rv = module->C_GetMechanismInfo(slot, type, info);
    if (rv == CKR_OK)
        info->flags |= CKF_HW;
    return rv;
}

__attribute__((visibility("default"))) CK_RV C_GetFunctionList(CK_FUNCTION_LIST **out)
{
    const char *path = getenv("CTK_MODULE");
    void *library = path ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
    CK_RV (*get)(CK_FUNCTION_LIST **) = library ? dlsym(library, "C_GetFunctionList") : NULL;
    if (!get || get(&module) != CKR_OK)
        return CKR_GENERAL_ERROR;
    list = *module;
    list.C_GetMechanismInfo = mechanism_info;
    *out = &list;
    return CKR_OK;
}
