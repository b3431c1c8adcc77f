from worklist.models.figures import ExaminationFigures, FiguresChange
from worklist.models.peer_review import (
    ARBITRATED,
    DISCREPANCIES,
    PeerReview,
    PeerReviewDraw,
    PeerReviewPolicy,
    PeerReviewScore,
    PeerReviewState,
    RadpeerScore,
)
from worklist.models.performed import (
    CompletedBy,
    PerformedProcedureStep,
    PerformedStatus,
    PerformedStepReference,
    PerformedWarning,
    StudyCompletion,
)
from worklist.models.quality import BoardPreference, QualityCheck, QualityOutcome, RejectReason
from worklist.models.query import WorklistQuery
from worklist.models.reading import TO_READ, Reading, ReadingArea, ReadingState, Region, Turnaround
from worklist.models.reconciliation import (
    CaseReason,
    CaseState,
    DecisionKind,
    ReconciliationCase,
    ReconciliationDecision,
    WorklistSettings,
)
from worklist.models.room import Device, OpeningHours, Room, RoomBlock, WorklistReach
from worklist.models.step import ENDED, OPEN, ScheduledProcedureStep, StepStatus

__all__ = [
    "ARBITRATED",
    "DISCREPANCIES",
    "ENDED",
    "OPEN",
    "TO_READ",
    "BoardPreference",
    "CaseReason",
    "CaseState",
    "CompletedBy",
    "DecisionKind",
    "Device",
    "ExaminationFigures",
    "FiguresChange",
    "OpeningHours",
    "PeerReview",
    "PeerReviewDraw",
    "PeerReviewPolicy",
    "PeerReviewScore",
    "PeerReviewState",
    "PerformedProcedureStep",
    "PerformedStatus",
    "PerformedStepReference",
    "PerformedWarning",
    "QualityCheck",
    "QualityOutcome",
    "RadpeerScore",
    "Reading",
    "ReadingArea",
    "ReadingState",
    "ReconciliationCase",
    "ReconciliationDecision",
    "Region",
    "RejectReason",
    "Room",
    "RoomBlock",
    "ScheduledProcedureStep",
    "StepStatus",
    "StudyCompletion",
    "Turnaround",
    "WorklistQuery",
    "WorklistReach",
    "WorklistSettings",
]
