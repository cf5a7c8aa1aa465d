"""Intervals and paired tests on plain arrays, all of which respect that images come in patients.

`bootstrap`: resampling of patients, intervals; `paired`: tests of two models or more on the same
images, Holm's correction; `independent`: one value on two sets of patients; `crossed`: seeds and
patients together; `resampled_t`: folds, which share training data; `agreement`: whether models
err on the same images. `metrics`: on plain arrays; `calibration`: temperatures, operating points
and reliability curves. What makes tables of them is in `multiloss.evaluation`.
"""
