"""The page's HTML with its style: one file, light and dark, for wide screens and narrow ones."""

TEMPLATE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>GANs and unsupervised domain adaptation</title>
<style>
:root { color-scheme: light dark; --ink: #22272e; --soft: #5b6570; --paper: #fbfbfa; --card: #fff; --line: #dfe3e8;
  --accent: #0072b2; --code: #f1f3f5; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e3e7eb; --soft: #9aa5b1; --paper: #15181c; --card: #1d2126; --line: #343a42; --accent: #56b4e9;
    --code: #23282e; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 62rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .5rem; }
h2 { font-size: 1.4rem; margin: 3rem 0 .75rem; padding-top: .75rem; border-top: 1px solid var(--line); }
h3 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
p { max-width: 46rem; margin: .6rem 0; }
a { color: var(--accent); }
.soft, figcaption { color: var(--soft); font-size: .9rem; }
nav { display: flex; flex-wrap: wrap; gap: .25rem 1.1rem; margin: 1rem 0; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(13rem, 1fr)); gap: .8rem; margin: 1.2rem 0; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: .8rem 1rem; }
.card b { display: block; font-size: 1.55rem; line-height: 1.3; font-variant-numeric: tabular-nums; }
.card span { display: block; color: var(--soft); font-size: .88rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: .8rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .9rem .35rem 0; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child, .note { text-align: left; }
td.note { white-space: normal; color: var(--soft); padding-left: 1rem; }
thead th { color: var(--soft); font-weight: 600; }
table.rows { width: 100%; }
table.rows td:first-child { white-space: normal; }
td small { display: block; color: var(--soft); }
figure { margin: 1.2rem 0; }
figure .scroll { background: #fff; border: 1px solid var(--line); border-radius: .6rem; padding: .6rem; }
figure img { display: block; max-width: 100%; height: auto; margin: 0 auto; }
figcaption { padding-top: .4rem; }
details { margin: 1rem 0; }
summary { cursor: pointer; color: var(--accent); }
pre { background: var(--code); padding: 1rem; border-radius: .6rem; overflow-x: auto; font-size: .82rem; line-height: 1.45; }
@media (max-width: 40rem) {
  body { padding: 1.2rem .9rem 3rem; }
  h1 { font-size: 1.5rem; }
  figure.wide img { max-width: none; width: 40rem; }
  th, td { padding-right: .6rem; font-size: .92rem; }
  th:first-child, td:first-child { white-space: normal; }
}
@media print { nav { display: none; } figure { break-inside: avoid; } }
</style>
</head>
<body>
{% macro picture(name, caption, wide=false) %}
{% if name in pictures %}
<figure{% if wide %} class="wide"{% endif %}>
<div class="scroll"><img src="{{ pictures[name] }}" alt="{{ caption }}"></div>
<figcaption>{{ caption }}</figcaption>
</figure>
{% endif %}
{% endmacro %}
{% macro seeds(values) %}{{ "seed" if values|length == 1 else "seeds" }} {{ values|join(", ") }}{% endmacro %}
{% set several = study.seeds|length > 1 %}
<header>
<h1>GANs and unsupervised domain adaptation</h1>
<p class="soft">StyleGAN2 draws faces, ACGAN digits by class; DANN and DSN carry a digit classifier over to a domain
whose labels they never see.{% if provenance.commit is defined %} Commit {{ provenance.commit }}.{% endif %}</p>
<nav><a href="#summary">Summary</a> <a href="#stylegan2">StyleGAN2</a> <a href="#acgan">ACGAN</a> <a href="#judge">Judge</a>
<a href="#adaptation">Adaptation</a> <a href="#tsne">t-SNE</a> <a href="#times">Times</a> <a href="#origin">Origin</a></nav>
</header>

<section id="summary">
<h2>Summary</h2>
<div class="cards">
{% for extractor, report in summary.stylegan2.report.items() %}
{% set measure = headline(report) %}
{% set clean = summary.stylegan2.clean[extractor] %}
{% set real = measures[measure] %}
<div class="card"><span>StyleGAN2, {{ measure|measure(extractor) }}</span><b>{{ clean[measure]|figure }}</b>
<span>clean protocol; real images {{ clean[real]|figure }}</span>
<span>report protocol {{ report[measure]|figure }}; real images {{ report[real]|figure }}</span></div>
{% endfor %}
<div class="card"><span>ACGAN, accuracy under the judge</span><b>{{ summary.acgan.judge_accuracy|percent }} %</b>
<span>{{ seeds(study.acgan_seeds) }}</span></div>
<div class="card"><span>Judge, accuracy on real test digits</span><b>{{ summary.judge.test_accuracy|percent }} %</b>
<span>trained on real digits only</span></div>
</div>
<div class="scroll"><table>
<thead><tr><th>accuracy on target test, %</th>
{% for name in study.all_methods %}<th>{{ name|method }}</th>{% endfor %}</tr></thead>
<tbody>
{% for pair in study.pairs %}
<tr><td>{{ pair|pair }}</td>
{% for name in study.all_methods %}
{% set theirs = reference.adaptation(study.pairs[pair].source, study.pairs[pair].target, name) %}
<td>{{ summary.adaptation[pair][name].accuracy|percent }}
{% if theirs is not none %}<small>study {{ theirs|percent }}</small>{% endif %}</td>
{% endfor %}</tr>
{% endfor %}
</tbody>
</table></div>
<p class="soft">{{ seeds(study.seeds)|capitalize }}{% if several %}, mean ± standard deviation{% endif %}. “Target only” is
trained on labelled target images: a bound, not a competitor.</p>
{{ picture("accuracy", "Accuracy on the whole target test split, by pair and method.", true) }}
<h3>Beside the study’s own figures</h3>
<div class="scroll"><table class="rows">
<thead><tr><th>{{ head[0] }}</th>{% for cell in head[2:] %}<th>{{ cell }}</th>{% endfor %}</tr></thead>
<tbody>
{% for row in rows %}
<tr><td>{{ row.name }} <small>{{ row.data }}</small></td>
{%- for cell in row.cells[2:] %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}
</tbody></table></div>
<p class="soft">Accuracies in percent; ours as mean ± standard deviation over n seeds. “Real images” is what they get in the
samples’ place: for a Fréchet distance the floor, for a score that of the test images, for the judge its accuracy on real test
digits.</p>
<p>The study’s figure stands beside ours where data set (official, or your own of that name, whole), network, measure and protocol
are the same. {% if stand_ins %}Packaged data sets are stand-ins, here {{ stand_ins|join(", ") }}: <strong>figures on
them can’t be compared with the study’s</strong>, which are there for orientation. {% endif %}Its FID and Inception Score come
from a CelebA subset at 64×64 and 66,000 steps of training; <code>fd</code> and <code>cs</code>, measured on other networks,
can’t be set beside them.</p>
</section>

<section id="stylegan2">
<h2>StyleGAN2: faces</h2>
<p>Trained for {{ "{:,}".format(steps.stylegan2) }} steps on the training images of {{ study.faces }}
({{ study.origin(study.faces) }}; {{ seeds(study.stylegan2_seeds) }}), and sampled from the averaged networks by two
protocols. The <em>report</em> protocol, the study’s with 1,000 images and psi 0.75:
{{ "{:,}".format(sample.report.count) }} images, their styles drawn towards the mean style (psi {{ sample.report.psi }}),
saved as JPEG. The <em>clean</em> one saves
{{ "{:,}".format(sample.clean.count) }} without loss, with psi {{ sample.clean.psi }}.</p>
{{ picture("faces", "Report protocol: the first 32 generated faces (left) beside 32 real ones (right).", true) }}
{{ picture("faces_clean", "Clean protocol: the first 32 generated faces (left) beside the same real ones (right).", true) }}
{% for extractor in study.extractors %}
{% set protocols = {"report": summary.stylegan2.report[extractor], "clean": summary.stylegan2.clean[extractor]} %}
{% set runs = {"report": faces.report[extractor][0], "clean": faces.clean[extractor][0]} %}
{% set distance = "fid" if "fid" in protocols.clean else "fd" %}
{% set score = scores|select("in", protocols.clean)|first %}
{% macro line(label, key, note="", strong=false) %}
<tr><td>{{ label }}</td>{% for figures in protocols.values() %}<td>
{%- if key not in figures %}–
{%- elif strong %}<strong>{{ figures[key]|figure }}</strong>
{%- else %}{{ figures[key]|figure }}
{%- endif -%}
</td>{% endfor %}<td class="note">{{ note }}</td></tr>
{% endmacro %}
<h3>On {{ extractor }}</h3>
<div class="scroll"><table>
<thead><tr><th>images enlarged by {{ runs.clean.resize }}</th><th>report</th><th>clean</th><th class="note"></th></tr></thead>
<tbody>
{{ line("Fréchet distance to the test images (" ~ distance ~ ")", distance, strong=true) }}
{{ line("its floor", distance ~ "_floor", "training images in the samples’ place") }}
{{ line("to the training images", distance ~ "_train") }}
{{ line("of a Gaussian of principal components", distance ~ "_pca", "fitted to the training images") }}
{{ line("of the untrained networks", distance ~ "_untrained") }}
{{ line("Kernel distance, unbiased (KID)", "kid", strong=true) }}
{{ line("its floor", "kid_floor") }}
{{ line("its spread over subsets", "kid_std") }}
{{ line("Precision", "precision", "share of generated faces among the real") }}
{{ line("Recall", "recall", "share of real faces among the generated") }}
{{ line("Classifier score (" ~ score ~ ")", score, strong=true) }}
{{ line("its spread over parts", score ~ "_std") }}
{{ line("of the test images", score ~ "_real") }}
{% for label, key in [("Generated images", "n_fake"), ("Real test images", "n_real"), ("The floor’s images", "n_floor")] %}
<tr><td>{{ label }}</td>{% for run in runs.values() %}<td>{{ "{:,}".format(run[key]) }}</td>{% endfor %}
<td class="note"></td></tr>
{% endfor %}
</tbody>
</table></div>
{% endfor %}
<p class="soft">The Fréchet distance is biased by both numbers of images, the kernel distance is not: with few images it is
the one to trust. A floor is what a perfect generator would get from as many images.</p>
{{ picture("faces_progress", "The same latents as training goes on, one column each.", true) }}
{{ picture("training_stylegan2", "Losses, the discriminator’s outputs, and the regularisers.", true) }}
</section>

<section id="acgan">
<h2>ACGAN: digits by class</h2>
<p>Trained for {{ "{:,}".format(steps.acgan) }} steps on {{ study.digits }} ({{ study.origin(study.digits) }};
{{ seeds(study.acgan_seeds) }}). The judge, which
never saw a generated image, recognises {{ summary.acgan.judge_accuracy|percent }} % of {{ "{:,}".format(results.digits[0].n) }}
generated digits as the class that was asked for; on real test digits it is right in
{{ summary.judge.test_accuracy|percent }} %.</p>
{{ picture("digits", "Ten generated digits of each class.") }}
{{ picture("digits_progress", "The same latents, one of each class, as training goes on.", true) }}
{{ picture("training_acgan", "Losses, and how often the discriminator’s class head is right.", true) }}
</section>

<section id="judge">
<h2>The judge</h2>
<p>A LeNet trained for {{ "{:,}".format(steps.judge) }} steps on real training digits of {{ study.judged }}
({{ study.origin(study.judged) }}) only.</p>
{{ picture("judge_classes", "The judge’s accuracy by class, on real and on generated digits.", true) }}
{{ picture("confusion_judge", "What the judge takes for what, percent of each class.", true) }}
{{ picture("training_judge", "The judge’s training.", true) }}
</section>

<section id="adaptation">
<h2>Domain adaptation: DANN and DSN</h2>
<p>Every classifier is the one of the last training step, scored on the whole target test split. The curves below were scored
afterwards, from weights kept along the way. Except for “target only”, no target label took part in training, and no step or
checkpoint is chosen by one. The laptop preset’s DSN settings were found on held-out labelled target <em>training</em> images of
mnistm; no test image ever took part in a choice.</p>
{{ picture("accuracy_curves", "Accuracy on target test over the training. Dotted: chance.", true) }}
{% for pair in study.pairs %}
<h3>{{ pair|pair }}</h3>
<div class="scroll"><table>
<thead><tr><th>%</th><th>target test</th><th>held-out source</th>
{% for digit in range(10) %}<th>{{ digit }}</th>{% endfor %}</tr></thead>
<tbody>
{% for name in study.all_methods %}
{% set run = results.adaptation[pair][name][0] %}
<tr><td>{{ name|method }}</td><td><strong>{{ summary.adaptation[pair][name].accuracy|percent }}</strong></td>
<td>{{ run.source_validation_accuracy|percent }}</td>
{% for value in run.per_class %}<td>{{ "–" if value is none else "%.0f"|format(100 * value) }}</td>{% endfor %}</tr>
{% endfor %}
</tbody>
</table></div>
<p class="soft">Held-out source accuracy and accuracy by digit are those of seed {{ study.seeds[0] }}; {{ "{:,}".format(
results.adaptation[pair][study.all_methods[0]][0].n) }} test images.</p>
{{ picture("training_" ~ pair, "Losses of each method (logarithmic) and lambda; seed " ~ study.seeds[0] ~ ".", true) }}
{{ picture("confusion_" ~ pair, "What is taken for what, percent of each class; seed " ~ study.seeds[0] ~ ".", true) }}
{% endfor %}
</section>

<section id="tsne">
<h2>t-SNE of the codes</h2>
<p>The code before the class head (DSN: the shared code), of equally many source and target test images, fitted together.
A method that makes the domains alike mixes the colours on the right and keeps the digits apart on the left.</p>
{% for pair in study.pairs %}
<h3>{{ pair|pair }}</h3>
{% for name in study.methods %}
{{ picture("tsne_" ~ pair ~ "_" ~ name, (name|method) ~ ": digits stand where their source images lie.", true) }}
{% endfor %}
{% endfor %}
</section>

<section id="times">
<h2>Times and memory</h2>
{% if parts %}
<div class="scroll"><table>
<thead><tr><th>part</th><th>time</th><th>peak memory</th><th>stages</th></tr></thead>
<tbody>
{% for part in parts %}
<tr><td>{{ part.name }}</td><td>{{ part.seconds|duration }}</td><td>{{ part.peak_bytes|gigabytes }}</td>
<td>{{ part.stages|length }}</td></tr>
{% endfor %}
<tr><td><strong>all</strong></td><td><strong>{{ parts|sum(attribute="seconds")|duration }}</strong></td>
<td><strong>{{ parts|map(attribute="peak_bytes")|max|gigabytes }}</strong></td>
<td>{{ parts|map(attribute="stages")|map("length")|sum }}</td></tr>
</tbody>
</table></div>
<p class="soft">As measured by each stage’s last run on this machine. Stages that were restored from the cache
are not in here.</p>
<details><summary>Every stage</summary><div class="scroll"><table>
<thead><tr><th>stage</th><th>time</th><th>peak memory</th></tr></thead>
<tbody>
{% for part in parts %}{% for name, seconds, peak in part.stages %}
<tr><td>{{ name }}</td><td>{{ seconds|duration }}</td><td>{{ peak|gigabytes }}</td></tr>
{% endfor %}{% endfor %}
</tbody></table></div></details>
{% else %}
<p>No stage has run on this machine: all results were restored from the cache.</p>
{% endif %}
</section>

<section id="origin">
<h2>Origin</h2>
<div class="scroll"><table>
<thead><tr><th>data set</th><th class="note">comes from</th></tr></thead>
<tbody>
{% for name in study.data %}
<tr><td>{{ name }}</td><td class="note">{{ study.origin(name) }}</td></tr>
{% endfor %}
</tbody></table></div>
<div class="scroll"><table><tbody>
{% for name, value in provenance.items() %}
<tr><td>{{ name }}</td><td>{{ value }}</td></tr>
{% endfor %}
</tbody></table></div>
<details><summary>params.yaml</summary><pre>{{ params }}</pre></details>
</section>
</body>
</html>
"""
