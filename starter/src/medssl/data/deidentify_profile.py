"""What happens to each DICOM attribute: PS3.15 Table E.1-1 (edition 2026c), Basic Application Level Confidentiality.

D: replaced by a dummy. Z: emptied. X: removed. U: a new UID. K: kept. Where the table leaves a choice (X/Z, X/Z/D) the
one is taken that keeps an image object whole: Z for what such an object must have, D for what must not be empty there.

Four rules make the table short, and are stricter than it:
- every text, person, date, time, address and block of bytes that is not named here is removed, also those that newer
  editions add, private elements, and those that no dictionary knows;
- every UID is replaced that is not one of the standard's own (classes, transfer syntaxes);
- an element written in another representation than the standard's (a name as a code string) is removed: what a file
  says of itself is not believed;
- whatever else tells of the patient (group 0010: size, weight, body mass) is removed.
Of numbers, codes and sequences the table names those that identify; the others are kept, and sequences are entered.
"""

EMPTIED = """
AccessionNumber AcquisitionContextSequence AcquisitionDate AcquisitionTime BarcodeValue ClinicalTrialProtocolName
ClinicalTrialCoordinatingCenterName ClinicalTrialSiteID ClinicalTrialSiteName ClinicalTrialTimePointID
ConsultingPhysicianName ContrastBolusAgent IssuerOfTheContainerIdentifierSequence
IssuerOfTheSpecimenIdentifierSequence LabelText PatientBirthDate PatientName PatientSex PatientSexNeutered
PositionReferenceIndicator ReferencedStudySequence ReferringPhysicianName SpecimenPreparationSequence StudyDate StudyID
StudyTime TreatmentMachineName
"""
REPLACED = """
AcquisitionDateTime ClinicalTrialProtocolID ClinicalTrialSponsorName ClinicalTrialSubjectID
ClinicalTrialSubjectReadingID ClinicalTrialProtocolEthicsCommitteeName ContainerIdentifier ContentDate ContentTime
DecayCorrectionDateTime DeviceSerialNumber EndAcquisitionDateTime FrameAcquisitionDateTime FrameReferenceDateTime
PatientID ProtocolName RTImageLabel SpecimenIdentifier StartAcquisitionDateTime
XRayDetectorID XRaySourceID
"""
REMOVED = """
ActualHumanPerformersSequence AdmittingDiagnosesCodeSequence AuthorObserverSequence ContentSequence
ConsultingPhysicianIdentificationSequence ContentCreatorIdentificationCodeSequence CustodialOrganizationSequence
DigitalSignaturesSequence EthnicGroupCodeSequence FlowIdentifierSequence GPSAltitude GPSAltitudeRef GPSDOP
GPSDestBearing GPSDestBearingRef GPSDestDistance GPSDestDistanceRef GPSDestLatitude GPSDestLatitudeRef
GPSDestLongitude GPSDestLongitudeRef GPSDifferential GPSImgDirection GPSImgDirectionRef GPSLatitude GPSLatitudeRef
GPSLongitude GPSLongitudeRef GPSMeasureMode GPSSpeed GPSSpeedRef GPSStatus GPSTrack GPSTrackRef
GraphicAnnotationSequence IconImageSequence InstanceOriginStatus InstitutionCodeSequence
InstitutionalDepartmentTypeCodeSequence IntendedRecipientsOfResultsIdentificationSequence
InterpretationApproverSequence IssuerOfAdmissionIDSequence IssuerOfServiceEpisodeIDSequence LensSpecification
ModifiedAttributesSequence ModifyingDeviceID NonconformingModifiedAttributesSequence OperatorIdentificationSequence
OriginalAttributesSequence OtherClinicalTrialProtocolIDsSequence OtherPatientIDsSequence ParticipantSequence PatientAge
PatientInsurancePlanCodeSequence PatientPrimaryLanguageCodeSequence PatientPrimaryLanguageModifierCodeSequence
PatientSize PatientWeight PerformedStationGeographicLocationCodeSequence PerformedStationNameCodeSequence
PerformingPhysicianIdentificationSequence PersonIdentificationCodeSequence PhysiciansOfRecordIdentificationSequence
PhysiciansReadingStudyIdentificationSequence PregnancyStatus PrescriptionNotesSequence ROICreatorSequence
ROIInterpreterSequence ReasonForRequestedProcedureCodeSequence ReasonForTheAttributeModification
ReasonForVisitCodeSequence ReferencedDigitalSignatureSequence ReferencedPatientAliasSequence
ReferencedPatientPhotoSequence ReferencedPatientSequence ReferencedPerformedProcedureStepSequence
ReferencedSOPInstanceMACSequence ReferringPhysicianIdentificationSequence RequestAttributesSequence
ResultsDistributionListSequence ScheduledHumanPerformersSequence ScheduledPerformingPhysicianIdentificationSequence
ScheduledStationGeographicLocationCodeSequence ScheduledStationNameCodeSequence SelectorASValue SmokingStatus
TransducerIdentificationSequence UDISequence VerbalSourceIdentifierCodeSequenceTrial
VerifyingObserverIdentificationCodeSequence VerifyingObserverSequence WaveformAnnotationSequence
"""
# Text and bytes that an image needs and that name nobody: the machine's make, how it made the picture, codes, tables.
KEPT = """
AnatomicalOrientationType CodeValue LongCodeValue CodeMeaning CodingSchemeDesignator CodingSchemeVersion
ContrastBolusRoute ConvolutionKernel DimensionDescriptionLabel FilterType ImagedNucleus LUTExplanation LUTLabel
Manufacturer ManufacturerModelName ModalityLUTType Radiopharmaceutical ReceiveCoilName RescaleType TransmitCoilName
WindowCenterWidthExplanation
PixelData ExtendedOffsetTable ExtendedOffsetTableLengths GrayLookupTableData LUTData
AlphaPaletteColorLookupTableData BluePaletteColorLookupTableData GreenPaletteColorLookupTableData
RedPaletteColorLookupTableData SegmentedAlphaPaletteColorLookupTableData SegmentedBluePaletteColorLookupTableData
SegmentedGreenPaletteColorLookupTableData SegmentedRedPaletteColorLookupTableData
"""
# Without these, or with others, the pixels would mean something else: an odd one is refused, not removed.
NEEDED = """
SOPClassUID SOPInstanceUID SamplesPerPixel PhotometricInterpretation PlanarConfiguration NumberOfFrames Rows Columns
PixelSpacing BitsAllocated BitsStored HighBit PixelRepresentation PixelPaddingValue PixelPaddingRangeLimit
RescaleIntercept RescaleSlope ModalityLUTSequence LUTDescriptor LUTData PixelData
"""
WHOLE = set(NEEDED.split())
TABLE = {keyword: action for action, words in (("Z", EMPTIED), ("D", REPLACED), ("X", REMOVED), ("K", KEPT))
         for keyword in words.split()}
DUMMIES = {"DA": "19000101", "TM": "000000", "DT": "19000101000000"}  # of D; for text: "REMOVED"
DATES = ("DA", "DT")
OPEN = {"AE", "AS", "DA", "DT", "LO", "LT", "OB", "OD", "OF", "OL", "OV", "OW", "PN", "SH", "ST", "TM", "UC", "UN",
        "UR", "UT"}  # representations that can hold anything: kept only if KEPT


# Code lists in public use: their meanings are the lists' own words. Of any other the meaning is free text.
SCHEMES = {"DCM", "SCT", "SRT", "SNM3", "LN", "UCUM", "RADLEX", "FMA", "NCIt", "MA", "I10", "I10P", "ICDO3", "BI"}
MEANINGS = ("CodeMeaning", "LongCodeValue")


def representation(element) -> str:
    """The VR that the standard gives this element, whatever the file says; the file's own if no dictionary knows it."""
    from pydicom.datadict import dictionary_has_tag, dictionary_VR

    known = dictionary_VR(element.tag) if dictionary_has_tag(element.tag) else element.VR
    return element.VR if known == element.VR or element.VR in known.split(" or ") else known


def action_for(element) -> str:
    """The letter for one data element of a pydicom Dataset."""
    if element.tag.is_private or not element.keyword or element.tag.group < 8:
        return "X"  # private; overlays, curves, group lengths and unknown ones have no keyword; commands, file header
    if representation(element) != element.VR:
        return "X"
    if element.keyword in TABLE:
        return TABLE[element.keyword]
    return "U" if element.VR == "UI" else "X" if element.VR in OPEN or element.tag.group == 0x10 else "K"


def why_not(ds) -> str:
    """Why an object is refused whose attributes these rules do not cover; "" for an image."""
    name = ds.SOPClassUID.name if ds.get("SOPClassUID") else ""
    if "Image Storage" not in name or "Video" in name:  # an unknown class has no name, only its number
        return "its SOP class is unknown, or not one of still images"
    if {"LABEL", "OVERVIEW"} & set(ds.get("ImageType") or ()):
        return "a photograph of a slide with its label, on which names are written"
    return "" if "PixelData" in ds else "it holds no stored pixels"


RISKY = {"US", "IVUS", "ES", "XC", "GM", "OT", "SC", "RF", "DG", "ECHO", "OP", "SM"}


def pixel_warning(ds) -> str:
    """What the header says of text inside the pixels, which are never looked at; "" if there is nothing to say."""
    said, kinds = ds.get("BurnedInAnnotation"), {str(kind).upper() for kind in ds.get("ImageType") or ()}
    if said == "YES":
        return "the file says that text is burned into its pixels"
    screen = "Secondary Capture" in ds.SOPClassUID.name or "ConversionType" in ds or any("SCREEN" in k for k in kinds)
    if screen or ds.get("Modality") in RISKY or ("SECONDARY" in kinds and said != "NO"):
        return "of a kind that often has names burned into its pixels (ultrasound, camera, screenshot, derived image)"
    if said is None and ds.get("Modality") not in ("CT", "MR", "PT"):
        return "it does not say whether text is burned into its pixels"
    return ""
