# Retrieval with the features of the bridge on Tiny-ImageNet-200; for tools/test.py.
_base_ = "../bridge/gpt2-medium_language_random100_400e_tiny-imagenet.py"

# sometimes changed
distance = "cosine"  # the paper names none; or 'euclidean'
topk = (1, 5)

model = dict(head=dict(_delete_=True, type="lbbt_mm.FeatureHead"))
# Each of the 10 000 validation images looks for the others of its true class.
test_evaluator = dict(
    _delete_=True, type="lbbt_mm.RetrievalMetric", topk=topk, distance=distance
)
