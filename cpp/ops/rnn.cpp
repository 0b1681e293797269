// Sizes the workspace of a recurrent call, decides how a team shares it, and runs the kernels.
#include "ops/rnn.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <string>

#include "base/threads.h"
#include "ops/rnn_frames.h"
#include "ops/rnn_layout.h"

namespace fastseq {
namespace {

std::ptrdiff_t round_up(std::ptrdiff_t n, std::ptrdiff_t unit) { return (n + unit - 1) / unit * unit; }

// A stride of whole cache lines that is not a multiple of a large power of two, lest rows share cache sets.
template <class T>
std::ptrdiff_t spread(std::ptrdiff_t elements, std::ptrdiff_t odd_of_lines) {
  const std::ptrdiff_t line = 64 / static_cast<std::ptrdiff_t>(sizeof(T));
  std::ptrdiff_t lines = (elements + line - 1) / line;
  if (lines % odd_of_lines == 0) ++lines;
  return lines * line;
}

// A stride of panels whose neighbours lie far apart among the sets of the caches, so that a step's frames of
// all panels fit them together: multiples of the golden ratio are spread evenly whatever their number.
// Without it, panels a power of two apart evict each other: the product of a step's gradients then waited for
// the third level of cache.
template <class T>
std::ptrdiff_t spread_panels(std::ptrdiff_t elements) {
  const std::ptrdiff_t line = 64 / static_cast<std::ptrdiff_t>(sizeof(T));
  const std::ptrdiff_t lines = (elements + line - 1) / line;
  std::ptrdiff_t period = 1024;  // lines of one way of a second level of cache: 64 KiB
  while (period > 8 && period > lines / 8) period /= 2;
  const std::ptrdiff_t place = static_cast<std::ptrdiff_t>(0.618 * static_cast<double>(period)) | 1;
  return (lines + (place - lines % period + period) % period) * line;
}

// Frames of each member that one chunk of steps aims at: large enough to use packed weights many times, small
// enough that what a chunk writes is still in cache when its steps read it. Measured: flat between 200 and
// 400 per member.
constexpr std::ptrdiff_t chunk_frames = 256;

// Below so many flops per member a call is done sooner than a second member wakes up.
constexpr double flops_worth_a_member = 4e5;
// Members that own rows each read all weights at every step; members that own units meet at every step, and
// each reads its own weights only. Measured on two cores: from so many rows of a member on, and from more
// where the weights pass the second level of cache, rows are the faster share; 16 rows are slower by 8 to 45
// %.
constexpr std::ptrdiff_t rows_worth_a_member = 24, rows_worth_large_weights = 48;
constexpr std::ptrdiff_t large_weights = 512 * 1024;  // bytes
constexpr std::ptrdiff_t units_worth_a_member = 32;
// With fewer, weights are read too often for what bands save.
constexpr std::ptrdiff_t rows_worth_a_band = 32, rows_worth_a_band_of_large_weights = 64;
// From so many features on, frames are looked through for those of one feature only.
constexpr std::ptrdiff_t features_worth_a_look = 8;

struct Sharing {
  int members;
  bool columns;
};

template <class T>
bool has_large_weights(const RnnCall<T>& c) {
  return c.units * c.units * cell_layout(c.cell).gates * static_cast<std::ptrdiff_t>(sizeof(T)) >
         large_weights;
}

// The one place that decides how many threads share a call, and what they share.
template <class T>
Sharing choose_sharing(double flops, const RnnCall<T>& c, int threads) {
  const std::ptrdiff_t batch = c.batch, units = c.units;
  const std::ptrdiff_t worth = static_cast<std::ptrdiff_t>(flops / flops_worth_a_member) + 1;
  const std::ptrdiff_t members = std::min<std::ptrdiff_t>(threads, worth);
  if (members <= 1) return {1, false};
  const std::ptrdiff_t rows = has_large_weights(c) ? rows_worth_large_weights : rows_worth_a_member;
  if (batch >= members * rows) return {static_cast<int>(members), false};
  const std::ptrdiff_t by_units = std::min(members, units / units_worth_a_member);
  const std::ptrdiff_t by_rows = std::min(members, batch);
  if (by_units >= by_rows && by_units > 1) return {static_cast<int>(by_units), true};
  return {static_cast<int>(std::max<std::ptrdiff_t>(by_rows, 1)), false};
}

// Bands of a call whose weight gradients will be wanted: each is summed apart, and the sums are added up,
// whoever sums them. The sizes alone say how many, so that results do not depend on the threads. Two, where
// there are rows enough for members to own some (of two, each then reads the gates it wrote) and gates are
// more than the sums that are added up.
template <class T>
int training_bands(const RnnCall<T>& c) {
  const std::ptrdiff_t gates = cell_layout(c.cell).gates;
  const std::ptrdiff_t read = c.frames * (gates + 1) * c.units + (c.repeat ? 0 : c.frames * c.features);
  const std::ptrdiff_t summed = (c.features + c.units) * gates * c.units;
  const std::ptrdiff_t rows = has_large_weights(c) ? rows_worth_a_band_of_large_weights : rows_worth_a_band;
  return c.batch >= 2 * rows && read >= 2 * summed ? 2 : 1;
}

template <class T>
double forward_flops(const RnnCall<T>& c) {
  const double gates = 2.0 * static_cast<double>(c.units) * cell_layout(c.cell).gates;
  const double inputs = static_cast<double>(c.repeat ? c.batch : c.frames) * static_cast<double>(c.features);
  return gates * (inputs + static_cast<double>(c.frames) * static_cast<double>(c.units));
}

// Frames of each band that a chunk of steps aims at.
template <class T>
std::ptrdiff_t chunk_of(const RnnCall<T>& c, int members) {
  return chunk_frames * ((members + c.bands - 1) / c.bands);
}

// The largest band's frames, and without training those of its largest chunk.
template <class T>
std::ptrdiff_t frames_of_band(const RnnCall<T>& c) {
  std::ptrdiff_t most = 0;
  for (int i = 0; i < c.bands; ++i) {
    const RnnBand& band = c.band[i];
    const std::ptrdiff_t chunk = std::min(band.frames.count, c.chunk_steps_frames + band.rows);
    most = std::max(most, c.training ? std::max(band.frames.count, band.rows) : chunk);
  }
  return most;
}

}  // namespace

template <class T>
struct RnnSaved<T>::Content {
  FrameLists lists;
  RnnCall<T> call;
  Arena arena;
  const Kernels* compiled;  // gates lie as this instruction set wrote them
  bool consumed = false;
  std::ptrdiff_t input_elements = 0;  // of x

  explicit Content(FrameLists&& l) : lists(std::move(l)) {}
};

template <class T>
RnnSaved<T>::RnnSaved() = default;
template <class T>
RnnSaved<T>::~RnnSaved() = default;

namespace {

// A call made ready: everything that may throw is done, and run() only computes.
template <class T>
struct ForwardJob {
  std::unique_ptr<RnnSaved<T>> saved;
  RnnForward<T> f = {};
  Arena work;
  const Kernels* compiled;  // those that packed the weights, or will
  int members = 1;

  ForwardJob(const RnnArrays<T>& a, const RnnOptions& o, int threads);
  void run(const Team& team) const noexcept { rnn_table<T>(*compiled).forward(f, team); }
  std::unique_ptr<RnnSaved<T>> finish();
};

template <class T>
ForwardJob<T>::ForwardJob(const RnnArrays<T>& a, const RnnOptions& o, int threads)
    : compiled(a.packed ? &a.packed->compiled() : &kernels()) {
  const RnnSizes<T> size(o.cell, a.units, *compiled);
  const bool lstm = o.cell == Cell::lstm;

  RnnCall<T>& c = f.call;
  c.cell = o.cell;
  c.activation = o.activation;
  c.recurrent_activation = o.recurrent_activation;
  c.batch = a.batch;
  c.features = a.features;
  c.units = a.units;
  c.panels = size.panels;
  c.repeat = o.repeat;
  c.training = o.training;
  c.dropout = o.training ? o.dropout : 0;
  c.recurrent_dropout = o.training ? o.recurrent_dropout : 0;
  c.seed = o.seed;
  c.x = a.x;
  c.kernel = a.kernel;
  c.recurrent_kernel = a.recurrent_kernel;
  c.bias = a.bias;
  c.h0 = a.h0;
  c.c0 = a.c0;
  saved = std::make_unique<RnnSaved<T>>();
  saved->content = std::make_unique<typename RnnSaved<T>::Content>(
      FrameLists(a.batch, a.steps, a.mask, a.lengths, {o.go_backwards, o.zero_output_for_mask || a.lengths},
                 [&](std::ptrdiff_t frames) {
                   c.frames = frames;
                   const Sharing sharing = choose_sharing(forward_flops(c), c, threads);
                   members = sharing.members;
                   c.columns = sharing.columns;
                   return o.training ? training_bands(c) : sharing.columns ? 1 : members;
                 }));
  typename RnnSaved<T>::Content& kept = *saved->content;
  kept.input_elements = a.batch * a.steps * a.features;
  c.band = kept.lists.bands().data();
  c.bands = static_cast<int>(kept.lists.bands().size());
  c.chunk_steps_frames = chunk_of(c, members);
  c.band_frames = frames_of_band(c);
  c.state_row = spread<T>(size.panels * size.width, 16);
  c.gate_panel = spread_panels<T>(c.band_frames * size.frame);
  const std::ptrdiff_t kept_frames = c.bands * c.band_frames;
  const std::ptrdiff_t input_rows = o.repeat ? a.batch : kept_frames;
  const std::ptrdiff_t state_frames = o.training ? kept_frames : 2 * a.batch;
  const std::ptrdiff_t cell_frames = o.training ? kept_frames : a.batch;

  kept.arena = Workspace::deal([&](Workspace& l) {
    l.take(c.inputs, input_rows * a.features);
    l.take(c.places, input_rows, !o.repeat && a.features >= features_worth_a_look && a.features < INT32_MAX);
    l.take(c.gates, c.bands * size.panels * c.gate_panel);
    l.take(c.repeated, size.panels * a.batch * size.frame, o.repeat);
    l.take(c.h_prev, state_frames * c.state_row);
    l.take(c.h_in, state_frames * c.state_row, c.recurrent_dropout > 0);
    l.take(c.x_mask, a.batch * a.features, c.dropout > 0);
    l.take(c.h_mask, a.batch * c.state_row, c.recurrent_dropout > 0);
    l.take(c.cells, cell_frames * c.state_row, lstm);
    l.take(c.c_first, a.batch * c.state_row, lstm && a.c0);
    l.take(c.reset, cell_frames * c.state_row, size.close > 0);
  });
  if (!c.h_in) c.h_in = c.h_prev;
  work = Workspace::deal([&](Workspace& l) {
    if (!a.packed) take_weights(l, f.weights, size, a.features, a.units);
    l.take(f.h_last, a.batch * c.state_row);
    l.take(f.row_sums, members * size.panels * size.frame);
  });
  f.packed = a.packed != nullptr;
  if (f.packed) f.weights = a.packed->view().weights;
  f.sequence = a.sequence;
  f.h_final = a.h_final;
  f.c_final = a.c_final;
  if (f.sequence && !kept.lists.dense())
    std::memset(f.sequence, 0, sizeof(T) * static_cast<std::size_t>(a.batch * a.steps * a.units));
}

// What backward needs; null without training.
template <class T>
std::unique_ptr<RnnSaved<T>> ForwardJob<T>::finish() {
  if (!f.call.training) return nullptr;
  saved->content->call = f.call;
  saved->content->compiled = compiled;
  return std::move(saved);
}

template <class T>
struct BackwardJob {
  typename RnnSaved<T>::Content& kept;
  const bool keep;
  RnnBackward<T> b = {};
  Arena work;
  int members;

  BackwardJob(const char* function, RnnSaved<T>& saved, const RnnGradients<T>& g, bool keep_saved,
              int threads);
  void run(const Team& team) const noexcept { rnn_table<T>().backward(b, team); }
  void finish() {
    if (keep) return;
    kept.consumed = true;
    kept.arena = Arena();  // back to the pool as soon as nobody can need it
  }
};

template <class T>
BackwardJob<T>::BackwardJob(const char* function, RnnSaved<T>& saved, const RnnGradients<T>& g,
                            bool keep_saved, int threads)
    : kept(*saved.content), keep(keep_saved) {
  if (kept.consumed)
    throw std::runtime_error(
        std::string(function) +
        ": saved must be used once unless kept with keep=True, got one that is consumed");
  if (kept.compiled != &kernels())
    throw std::runtime_error(std::string(function) + ": saved must come from the instruction set in use, " +
                             kernels().isa + ", got one from " + kept.compiled->isa);
  b.call = kept.call;
  RnnCall<T>& c = b.call;
  const RnnSizes<T> size(c.cell, c.units);
  const bool lstm = c.cell == Cell::lstm, two = size.close > 0;
  const std::ptrdiff_t wide = kernels().rnn->pair_vectors * size.lanes;

  const Sharing sharing = choose_sharing(2 * forward_flops(c), c, threads);
  members = sharing.members;
  c.columns = sharing.columns;
  c.chunk_steps_frames = chunk_of(c, members);
  b.dsequence = g.dsequence;
  b.dh_final = g.dh_final;
  b.dc_final = g.dc_final;
  b.dx = g.dx;
  b.dkernel = g.dkernel;
  b.drecurrent_kernel = g.drecurrent_kernel;
  b.dbias = g.dbias;
  b.add_kernel = g.add_kernel;
  b.add_recurrent = g.add_recurrent;
  b.add_bias = g.add_bias;
  b.dh0 = g.dh0;
  b.dc0 = g.dc0;
  b.want_dh0 = g.dh0 != nullptr;
  b.feature_row = round_up(c.features, size.lanes);
  const std::ptrdiff_t most = c.repeat ? c.batch : std::min(c.band_frames, c.chunk_steps_frames + c.batch);
  b.dx_member = c.repeat ? 0 : most * b.feature_row;
  const std::ptrdiff_t unit_rows = size.panels * size.width;
  const std::ptrdiff_t gate_elements = c.bands * size.panels * c.gate_panel;
  T* gates_kept = nullptr;
  work = Workspace::deal([&](Workspace& l) {
    l.take(b.packed_kernel_back, round_up(b.feature_row, wide) * size.panels * size.input, g.dx != nullptr);
    l.take(b.packed_open_back, round_up(unit_rows, wide) * size.panels * size.open);
    l.take(b.packed_close_back, round_up(unit_rows, wide) * size.panels * size.close, two);
    l.take(b.dh, c.batch * c.state_row);
    l.take(b.dh_in, c.batch * c.state_row, two || c.h_mask);
    l.take(b.dc, c.batch * c.state_row, lstm);
    l.take(b.dx_rows, most * b.feature_row * (c.repeat ? 1 : sharing.members), g.dx != nullptr);
    l.take(b.drepeated, size.panels * c.batch * size.frame, c.repeat);
    l.take(b.dkernel_panels, c.bands * size.panels * c.features * size.input, g.dkernel != nullptr);
    l.take(b.dopen_panels, c.bands * size.panels * c.units * size.open, g.drecurrent_kernel != nullptr);
    l.take(b.dclose_panels, c.bands * size.panels * c.units * size.close, g.drecurrent_kernel && two);
    l.take(b.dbias_panels, c.bands * size.panels * size.frame, g.dbias != nullptr);
    l.take(gates_kept, gate_elements, keep);
  });
  if (keep) {
    std::memcpy(gates_kept, c.gates, sizeof(T) * static_cast<std::size_t>(gate_elements));
    c.gates = gates_kept;
  }
  if (b.dx && !c.repeat && !kept.lists.dense())
    std::memset(b.dx, 0, sizeof(T) * static_cast<std::size_t>(kept.input_elements));
}

// An even number of threads is halved between two calls; on an odd one each has all of them in its turn.
int threads_of_each() {
  const int threads = num_threads();
  return threads % 2 == 0 ? threads / 2 : threads;
}

template <class Job>
void run_alone(const Job& job) {
  run_team(job.members, [&](const Team& team) noexcept { job.run(team); });
}

template <class Job>
void run_both(const Job& first, const Job& second, double flops) {
  if (num_threads() % 2 != 0 || flops < flops_worth_a_member) {
    run_alone(first);
    run_alone(second);
    return;
  }
  run_halves(
      2 * std::min(first.members, second.members), [&](const Team& team) noexcept { first.run(team); },
      [&](const Team& team) noexcept { second.run(team); });
}

}  // namespace

template <class T>
std::unique_ptr<RnnSaved<T>> rnn_forward(const RnnArrays<T>& a, const RnnOptions& o) {
  ForwardJob<T> job(a, o, num_threads());
  run_alone(job);
  return job.finish();
}

template <class T>
RnnSavedPair<T> rnn_forward_both(const std::array<RnnArrays<T>, 2>& a, const std::array<RnnOptions, 2>& o) {
  const int threads = threads_of_each();
  ForwardJob<T> first(a[0], o[0], threads), second(a[1], o[1], threads);
  run_both(first, second, forward_flops(first.f.call) + forward_flops(second.f.call));
  return {first.finish(), second.finish()};
}

template <class T>
void rnn_backward(const char* function, RnnSaved<T>& saved, const RnnGradients<T>& g, bool keep) {
  BackwardJob<T> job(function, saved, g, keep, num_threads());
  run_alone(job);
  job.finish();
}

template <class T>
void rnn_backward_both(const char* function, const std::array<RnnSaved<T>*, 2>& saved,
                       const std::array<RnnGradients<T>, 2>& g) {
  const int threads = threads_of_each();
  BackwardJob<T> first(function, *saved[0], g[0], false, threads),
      second(function, *saved[1], g[1], false, threads);
  run_both(first, second, 2 * (forward_flops(first.b.call) + forward_flops(second.b.call)));
  first.finish();
  second.finish();
}

#define FASTSEQ_INSTANTIATE(T)                                                                  \
  template class RnnSaved<T>;                                                                   \
  template std::unique_ptr<RnnSaved<T>> rnn_forward<T>(const RnnArrays<T>&, const RnnOptions&); \
  template void rnn_backward<T>(const char*, RnnSaved<T>&, const RnnGradients<T>&, bool);       \
  template RnnSavedPair<T> rnn_forward_both<T>(const std::array<RnnArrays<T>, 2>&,              \
                                               const std::array<RnnOptions, 2>&);               \
  template void rnn_backward_both<T>(const char*, const std::array<RnnSaved<T>*, 2>&,           \
                                     const std::array<RnnGradients<T>, 2>&);
FASTSEQ_INSTANTIATE(float)
FASTSEQ_INSTANTIATE(double)
#undef FASTSEQ_INSTANTIATE

}  // namespace fastseq
