PYTHON := .venv/bin/python
STAGES := prepare_data finetune_bert train_bilstm distill predict_test report

.PHONY: sample test tnews clean

# The five stages on a small generated set, in the scratch folder sample-run/.
sample: .venv/ready
	$(PYTHON) tests/small_set.py sample-run

test: .venv/ready
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m pytest

# The five stages on the real data; set the constants at the top of each first.
tnews: .venv/ready
	for stage in $(STAGES); do $(PYTHON) $$stage.py || exit 1; done

clean:
	rm -rf sample-run

.venv/ready: requirements.txt tests/requirements.txt
	python3 -m venv .venv
	$(PYTHON) -m pip install --quiet -r requirements.txt -r tests/requirements.txt
	touch $@
