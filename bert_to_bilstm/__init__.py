"""What the stages are made of. Imports go down this list only:

distillation, evaluation → training → outputs → text → models → stages → files
"""
