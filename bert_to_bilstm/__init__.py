"""What the stages are made of. Imports go down this list only:

distillation, evaluation → training → outputs → text → models → stages → files → memory
"""

import os

from bert_to_bilstm.memory import keep_freed_memory

# Threads that wait for each other give their cores away in place of spinning: beside another busy program a training
# keeps its pace, where it fell to less than half. torch's OpenMP library reads it when it is loaded, after this.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
keep_freed_memory()
