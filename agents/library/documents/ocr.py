"""Text recognition with the models that rapidocr ships; nothing is downloaded."""

from __future__ import annotations

from typing import Any

from .records import Line

LONGEST_SIDE = 1754  # pixels: A4 at 150 dpi; finer pages take longer and read no better


class Recogniser:
    """Loaded once and shared by all threads of a process: its sessions keep no state between calls."""

    def __init__(self) -> None:
        import cv2
        from rapidocr import RapidOCR

        cv2.setNumThreads(1)
        self._engine = RapidOCR(
            params={
                "Global.log_level": "critical",
                "EngineConfig.onnxruntime.intra_op_num_threads": 1,
                "EngineConfig.onnxruntime.inter_op_num_threads": 1,
                "Rec.rec_batch_num": 1,  # batches are padded to their longest line: more memory, no less time
            }
        )
        self._warm_up()

    def lines(self, picture: Any, unit: float) -> tuple[Line, ...]:
        """The lines of a BGR picture, from the top; `unit` is how many points a pixel stands for."""
        result = self._engine(picture)
        if result.txts is None or result.boxes is None:
            return ()
        found = zip(result.txts, result.boxes, result.scores, strict=True)
        return tuple(_line(text, box, float(score), unit) for text, box, score in found if text.strip())

    def _warm_up(self) -> None:
        """Each model is loaded at its first use, and that must not be a caller's."""
        import cv2
        import numpy as np

        card = np.full((64, 320, 3), 255, np.uint8)
        cv2.putText(card, "Rubato 1234", (10, 42), cv2.FONT_HERSHEY_SIMPLEX, 1, (0, 0, 0), 2)
        self._engine(card)


def _line(text: str, box: Any, score: float, unit: float) -> Line:
    xs, ys = [float(point[0]) * unit for point in box], [float(point[1]) * unit for point in box]
    return Line(
        text=" ".join(text.split()),
        x0=round(min(xs), 1),
        y0=round(min(ys), 1),
        x1=round(max(xs), 1),
        y1=round(max(ys), 1),
        confidence=round(min(max(score, 0.0), 1.0), 3),
    )
