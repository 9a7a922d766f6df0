"""Write a NIfTI image as a DICOM series, to try the tutorial where no DICOM files are at hand.

``pip install pydicom``, then
``python docs/synthetic_dicom.py flair.nii.gz dicom --series t2_flair_tra --thickness 3``
"""

from __future__ import annotations

import argparse
from pathlib import Path

import nibabel as nb
import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

LPS = np.diag([-1.0, -1.0, 1.0])  # of DICOM, from the RAS of NIfTI


def main() -> None:
    """Read the options and write one file for each slice."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("image", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--series", default="t2 flair", help="SeriesDescription")
    parser.add_argument("--thickness", type=float, required=True, help="SliceThickness, mm")
    parser.add_argument("--axis", type=int, default=2, help="array axis of the slices")
    arguments = parser.parse_args()
    image = nb.load(arguments.image)
    data = np.moveaxis(np.asarray(image.dataobj), arguments.axis, 2)
    order = [axis for axis in range(3) if axis != arguments.axis] + [arguments.axis]
    columns = LPS @ image.affine[:3, order]
    spacings = np.linalg.norm(columns, axis=0)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    common = {
        "PatientName": "Synthetic^Series",
        "PatientID": "synthetic",
        "Modality": "MR",
        "SOPClassUID": MRImageStorage,
        "StudyInstanceUID": generate_uid(),
        "SeriesInstanceUID": generate_uid(),
        "FrameOfReferenceUID": generate_uid(),
        "StudyDate": "20000101",
        "StudyTime": "120000",
        "SeriesNumber": 3,
        "AcquisitionNumber": 1,
        "SeriesDescription": arguments.series,
        "ProtocolName": arguments.series,
        "ImageType": ["ORIGINAL", "PRIMARY", "M", "ND"],
        "MRAcquisitionType": "2D",
        "ScanningSequence": ["SE", "IR"],
        "EchoTime": 120.0,
        "RepetitionTime": 9000.0,
        "InversionTime": 2500.0,
        "BodyPartExamined": "HEAD",
        "PatientPosition": "HFS",
        "SliceThickness": arguments.thickness,
        "SpacingBetweenSlices": round(float(spacings[2]), 4),
        "PixelSpacing": [float(spacings[1]), float(spacings[0])],
        "ImageOrientationPatient": [
            *(columns[:, 0] / spacings[0]),
            *(columns[:, 1] / spacings[1]),
        ],
        "Rows": data.shape[1],
        "Columns": data.shape[0],
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 0,
    }
    scale = 4095 / data.max()
    for number in range(data.shape[2]):
        write(
            arguments.folder / f"{number + 1:04}.dcm",
            {
                **common,
                "InstanceNumber": number + 1,
                "ImagePositionPatient": list(LPS @ image.affine[:3, 3] + number * columns[:, 2]),
            },
            np.clip(data[:, :, number].T * scale, 0, 4095).astype("<u2"),
        )


def write(path: Path, fields: dict[str, object], pixels: np.ndarray) -> None:
    """Write one slice."""
    slice_ = Dataset()
    for name, value in fields.items():
        setattr(slice_, name, value)
    slice_.SOPInstanceUID = generate_uid()
    slice_.PixelData = pixels.tobytes()
    slice_.file_meta = FileMetaDataset()
    slice_.file_meta.MediaStorageSOPClassUID = MRImageStorage
    slice_.file_meta.MediaStorageSOPInstanceUID = slice_.SOPInstanceUID
    slice_.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    slice_.save_as(path, enforce_file_format=True)


if __name__ == "__main__":
    main()
