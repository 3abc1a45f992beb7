PYTHON := .venv/bin/python
STAGES := prepare_data finetune_bert train_bilstm distill predict_test report

.PHONY: sample test tnews bench ablation torture audit clean

# The five stages and the report on the sample, in sample/; run again, it goes on or says that it is done.
sample: .venv/ready
	$(PYTHON) sample/run.py

test: .venv/ready
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy
	$(PYTHON) -m pytest -n auto --dist loadfile --no-loadscope-reorder --cov --cov-fail-under=95

# The five stages on the real data; set the constants at the top of each first.
tnews: .venv/ready
	for stage in $(STAGES); do $(PYTHON) $$stage.py || exit 1; done

# Looks every pinned package up among the known vulnerabilities; needs to be online.
audit: .venv/ready
	$(PYTHON) -m pip install --quiet pip-audit==2.10.1
	$(PYTHON) -m pip_audit -r requirements.txt

# Our loops beside the article's and transformers' Trainer, on this machine: half an hour and more.
bench: .venv/ready
	$(PYTHON) -m benchmarks.bench

# What each part of distillation is worth on the real data: hours; started again, it goes on where it was stopped.
ablation: .venv/ready
	$(PYTHON) -m benchmarks.ablation

# kill -9 at 20 random moments of every stage, on the sample, in a temporary folder: minutes.
torture: .venv/ready
	$(PYTHON) -m benchmarks.torture

# Removes what `make sample` made; a file of one's own beside it stays.
clean: .venv/ready
	$(PYTHON) sample/clean.py

.venv/ready: requirements.txt tests/requirements.txt
	python3 -m venv .venv
	$(PYTHON) -m pip install --quiet -r requirements.txt -r tests/requirements.txt
	touch $@
