"""Read by Python at its start in processes that get `client_patch.environment`: the client library trusts the testbed.

Alone in a folder, since that folder is put on the path of those processes and of no others.
"""

import os

from testbed.whatsapp_web.client_patch import ROOT_VARIABLE, install

if _root := os.environ.get(ROOT_VARIABLE):
    install(bytes.fromhex(_root))
