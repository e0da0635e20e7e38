"""Colours that colour-blind people can tell apart, on white and on dark grounds."""

# Okabe and Ito's palette.
BLUE, ORANGE, GREEN, RED, PURPLE, SKY = "#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9"
LINES = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY)
METHODS = {"source_only": "#8b949e", "dann": BLUE, "dsn": ORANGE, "mean_teacher": "#bd1f01", "target_only": "#3d444d"}
DOMAINS = {"source": BLUE, "target": RED}
# After Petroff's sequence of ten, made to be told apart with any colour vision; its two greys and the sand look alike as small
# points, and are a green, a magenta and a near-black here.
CLASSES = ("#3f90da", "#ffa90e", "#bd1f01", "#98c968", "#832db6", "#a96b59", "#e76300", "#e7008b", "#3d444d", "#92dadd")
