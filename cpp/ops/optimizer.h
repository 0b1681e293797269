// One optimizer step over all variables of a model: one team, every array read and written once.
#pragma once

#include <cstdint>
#include <vector>

#include "cpu/optimizer_kernels.h"

namespace fastseq {

// One variable: contiguous arrays of `count` float64 or float32 numbers.
struct Segment {
  bool is_float64;
  std::int64_t count;
  bool decays;  // whether weight decay is for this one
  void *value, *gradient, *slot_1, *slot_2, *slot_3;
};

struct StepSettings {
  UpdateRule rule;
  double learning_rate, rate;  // rate: with Adam's corrections in it; else the learning rate
  double momentum = 0, beta_1 = 0, beta_2 = 0, epsilon = 0;
  double of_mean = 0, of_gradient = 0, of_squares = 0;  // Nadam's corrections
  bool nesterov = false;
  double weight_decay = 0;
  double clipnorm = 0, clipvalue = 0, global_clipnorm = 0;  // 0: no clipping
  bool clear_gradients = true;
};

void optimizer_step(const std::vector<Segment>& segments, const StepSettings& settings);

// slot_1 = momentum slot_1 + (1 - momentum) value of every segment; and value = slot_1, if asked.
void optimizer_average(const std::vector<Segment>& segments, double momentum, bool overwrite);

}  // namespace fastseq
