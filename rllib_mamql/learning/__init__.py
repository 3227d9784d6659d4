"""What every algorithm that learns from demonstrations needs: settings, learner, data, sampling, checkpoints."""
