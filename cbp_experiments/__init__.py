"""Loss of plasticity and continual backpropagation: the experiments of Dohare et al. (Nature 2024), fast and seeded."""
