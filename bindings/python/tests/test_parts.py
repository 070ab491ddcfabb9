import unittest

import sdrs
from support import DEMO, PROMPT, QUICK, demo


class Parts(unittest.TestCase):
    def test_parts_from_elsewhere(self):
        lines = []
        pipe = sdrs.Pipeline(
            DEMO,
            vae=DEMO,
            text_encoder=DEMO,
            unet=DEMO / "unet",
            allow_unexpected=True,
            log=lambda level, line: lines.append(line),
        )
        drawn, expected = pipe.txt2img(PROMPT, **QUICK), demo().txt2img(PROMPT, **QUICK)
        self.assertTrue((drawn.arrays[0] == expected.arrays[0]).all())
        for part in ("vae", "text_encoder", "unet"):
            self.assertTrue(any(line.endswith(f": {part}") for line in lines), lines)

    def test_missing_parts_are_reported(self):
        with self.assertRaises(sdrs.InvalidFileError) as caught:
            sdrs.Pipeline(DEMO / "vae" / "diffusion_pytorch_model.safetensors")
        self.assertIn("is a VAE alone, not a checkpoint", str(caught.exception))
        with self.assertRaises(sdrs.MissingFileError) as caught:
            sdrs.Pipeline("runwayml/stable-diffusion-v1-5")
        self.assertIn("nothing is downloaded", str(caught.exception))
        with self.assertRaises(sdrs.MissingFileError):
            sdrs.Pipeline(DEMO / "vae" / "diffusion_pytorch_model.safetensors", config="no/such")


if __name__ == "__main__":
    unittest.main()
