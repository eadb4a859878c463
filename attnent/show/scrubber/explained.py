"""What each measure says, in a sentence that needs no equation."""

EXPLAINED = {
    "entropy": "How widely a query spreads its attention: 0 for one key, ln k for k keys alike.",
    "varentropy": "How unevenly it is spread, the variance of surprisal: 0 where all weights that are not 0 are equal.",
    "collision_entropy": "Spread as seen by the largest weights, minus the logarithm of the sum of their squares.",
    "max_weight": "The largest weight that one key receives.",
    "sink_mass": "The weight on the first visible key, where heads leave attention that they do not need.",
    "prompt_mass": "The weight on all tokens of the prompt together.",
    "self_mass": "The weight on the position of the query itself.",
    "previous_mass": "The weight on the position just before the query.",
    "normalized_entropy": "Entropy over its largest possible value, so that responses of any length can be compared.",
    "effective_keys": "How many keys a row of this entropy would see if it looked at all of them alike.",
    "kl_to_uniform": "How far attention is from looking at every visible key alike.",
    "sinkless_entropy": "Entropy of what is left of attention without its first visible key.",
    "sinkless_varentropy": "Varentropy of what is left of attention without its first visible key.",
    "lookback_ratio": "Mean weight of a key of the prompt over that plus the mean weight of a generated key.",
    "logprob": "The log-probability that the model gave this token.",
    "token_entropy": "How undecided the model was between next tokens.",
    "token_varentropy": "How unevenly probability is spread over next tokens.",
    "confidence": "How likely the instrument takes this token to be right, from 0 to 1.",
}
