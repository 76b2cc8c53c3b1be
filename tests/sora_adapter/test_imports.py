"""What importing the adapter costs those who only read the ledger."""

import subprocess
import sys


def test_nothing_but_the_client_and_its_transport_imports_openai() -> None:
    modules = "errors messages outcomes polling profiles requests responses untrusted wire".split()
    imports = "; ".join(f"import sora_adapter.{name}" for name in modules)
    code = f"{imports}; import sys; sys.exit('openai' in sys.modules or 'httpx2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
