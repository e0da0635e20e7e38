"""Colours that colour-blind people can tell apart, on white and on dark grounds."""

# Okabe and Ito's palette.
BLUE, ORANGE, GREEN, RED, PURPLE, SKY = "#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9"
LINES = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY)
METHODS = {"source_only": "#8b949e", "dann": BLUE, "dsn": ORANGE, "mean_teacher": "#bd1f01", "target_only": "#3d444d"}
DOMAINS = {"source": BLUE, "target": RED}
# Petroff's sequence of ten, made to be told apart with any colour vision.
CLASSES = ("#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6", "#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd")
