from pacs.models.application_entity import ApplicationEntity, ConflictAnswer, NodePriority
from pacs.models.commitment import CommitmentState, ReportedOver, StorageCommitment
from pacs.models.compression import (
    Compression,
    CompressionOutcome,
    CompressionRule,
    LosslessSyntax,
    NativeSyntax,
)
from pacs.models.correction import Correction, CorrectionKind, Removal, RemovalCode, RemovedInstance
from pacs.models.held import HeldChoice, HeldDecision, HeldReason
from pacs.models.imports import (
    ImportedAs,
    ImportedFile,
    ImportedStudy,
    ImportKind,
    ImportRefusal,
    ImportRun,
    ImportState,
)
from pacs.models.instance import Instance
from pacs.models.report import ReportObject, ReportObjectKind
from pacs.models.series import WRITTEN, RequestAttributes, Series
from pacs.models.sharing import LinkSigner, StudyToken
from pacs.models.storage import HeldObject, HeldState, Location, Volume, VolumeKind
from pacs.models.study import PatientModality, Study
from pacs.models.transfer import (
    Transfer,
    TransferDirection,
    TransferMethod,
    TransferOutcome,
    TransferResult,
    TransferState,
)
from pacs.models.verification import FindingKind, Verification, VerificationFinding

__all__ = [
    "WRITTEN",
    "ApplicationEntity",
    "CommitmentState",
    "Compression",
    "CompressionOutcome",
    "CompressionRule",
    "ConflictAnswer",
    "Correction",
    "CorrectionKind",
    "FindingKind",
    "HeldChoice",
    "HeldDecision",
    "HeldObject",
    "HeldReason",
    "HeldState",
    "ImportKind",
    "ImportRefusal",
    "ImportRun",
    "ImportState",
    "ImportedAs",
    "ImportedFile",
    "ImportedStudy",
    "Instance",
    "LinkSigner",
    "Location",
    "LosslessSyntax",
    "NativeSyntax",
    "NodePriority",
    "PatientModality",
    "Removal",
    "RemovalCode",
    "RemovedInstance",
    "ReportObject",
    "ReportObjectKind",
    "ReportedOver",
    "RequestAttributes",
    "Series",
    "StorageCommitment",
    "Study",
    "StudyToken",
    "Transfer",
    "TransferDirection",
    "TransferMethod",
    "TransferOutcome",
    "TransferResult",
    "TransferState",
    "Verification",
    "VerificationFinding",
    "Volume",
    "VolumeKind",
]
