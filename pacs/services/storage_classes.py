"""Which SOP classes are objects to store."""

from functools import lru_cache

from pydicom._uid_dict import UID_dictionary
from pydicom.uid import UID

from radiology.dicom import is_uid

DICOM_ROOT = "1.2.840.10008."
STORAGE_ROOT = "1.2.840.10008.5.1.4.1.1."
# Named storage, but nothing that C-STORE sends to an archive of studies: the DICOMDIR, and the
# objects that belong to no patient (PS3.4 GG), which are kept and found by other services.
NOT_OF_A_STUDY = {
    "MediaStorageDirectoryStorage",
    "HangingProtocolStorage",
    "ColorPaletteStorage",
    "GenericImplantTemplateStorage",
    "ImplantAssemblyTemplateStorage",
    "ImplantTemplateGroupStorage",
    "CTDefinedProcedureProtocolStorage",
    "XADefinedProcedureProtocolStorage",
    "ProtocolApprovalStorage",
    "InventoryStorage",
}


@lru_cache(maxsize=4096)
def is_storage(sop_class_uid: str) -> bool:
    """Whether objects of this class are stored here: every Storage SOP class that belongs to a study,
    and whatever DICOM does not define, since a private class that is not storage is never sent by C-STORE.
    """
    if not is_uid(sop_class_uid):
        return False
    if sop_class_uid in UID_dictionary:
        uid = UID(sop_class_uid)
        return (
            uid.type == "SOP Class"
            and ("Storage" in uid.name or (not uid.name and sop_class_uid.startswith(STORAGE_ROOT)))
            and uid.keyword not in NOT_OF_A_STUDY
            and "StorageCommitment" not in uid.keyword
            and "StorageManagement" not in uid.keyword
        )
    return sop_class_uid.startswith(STORAGE_ROOT) or not sop_class_uid.startswith(DICOM_ROOT)
