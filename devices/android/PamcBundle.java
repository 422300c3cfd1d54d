package pamc;

import ai.onnxruntime.OnnxJavaType;
import ai.onnxruntime.OnnxTensor;
import ai.onnxruntime.OrtEnvironment;
import ai.onnxruntime.OrtException;
import ai.onnxruntime.OrtSession;
import java.io.File;
import java.io.FileNotFoundException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.Map;

/**
 * A bundle of pamc on ONNX Runtime's Java API: one session for each task set that was asked for.
 *
 * <p>The folder holds the bundle's own files, so that the networks find {@code onnx/weights.bin}: copy them out of the
 * assets once. A session's weights are in memory from its first use until {@link #close}. Methods may be called from
 * any thread.
 */
public final class PamcBundle implements AutoCloseable {
  private final OrtEnvironment environment = OrtEnvironment.getEnvironment();
  private final Map<String, OrtSession> sessions = new LinkedHashMap<>();
  private final File folder;
  private final int threads;

  /**
   * @param folder the bundle, with {@code onnx/} in it
   * @param threads that compute one inference
   */
  public PamcBundle(File folder, int threads) {
    this.folder = folder;
    this.threads = threads;
  }

  /**
   * The answers of one task set for one sample of raw pixels.
   *
   * @param taskSet tasks in their order, such as {@code age+smile}
   * @param pixels one sample, row by row, as the manifest's input says with dtype uint8
   * @param shape of the sample, such as {@code {1, 28, 28}}
   * @return the values of each task, by its name
   * @throws FileNotFoundException when the bundle has no network of this task set
   */
  public Map<String, float[]> run(String taskSet, byte[] pixels, long[] shape)
      throws OrtException, FileNotFoundException {
    ByteBuffer data = ByteBuffer.allocateDirect(pixels.length).order(ByteOrder.nativeOrder());
    data.put(pixels);
    data.rewind();
    try (OnnxTensor input = OnnxTensor.createTensor(environment, data, batch(shape), OnnxJavaType.UINT8)) {
      return answers(session(taskSet), input);
    }
  }

  /** The same for an input whose dtype is float32. */
  public Map<String, float[]> run(String taskSet, float[] values, long[] shape)
      throws OrtException, FileNotFoundException {
    try (OnnxTensor input = OnnxTensor.createTensor(environment, FloatBuffer.wrap(values), batch(shape))) {
      return answers(session(taskSet), input);
    }
  }

  /** Release all sessions. */
  @Override
  public synchronized void close() throws OrtException {
    for (OrtSession session : sessions.values()) session.close();
    sessions.clear();
  }

  private synchronized OrtSession session(String taskSet) throws OrtException, FileNotFoundException {
    OrtSession session = sessions.get(taskSet);
    if (session != null) return session;
    File network = new File(new File(folder, "onnx"), taskSet + ".onnx");
    if (taskSet.indexOf('/') >= 0 || !network.isFile()) throw new FileNotFoundException(network.getPath());
    try (OrtSession.SessionOptions options = new OrtSession.SessionOptions()) {
      options.setIntraOpNumThreads(threads);
      session = environment.createSession(network.getPath(), options);
    }
    sessions.put(taskSet, session);
    return session;
  }

  private static long[] batch(long[] shape) {
    long[] batch = new long[shape.length + 1];
    batch[0] = 1;
    System.arraycopy(shape, 0, batch, 1, shape.length);
    return batch;
  }

  private static Map<String, float[]> answers(OrtSession session, OnnxTensor input) throws OrtException {
    String name = session.getInputNames().iterator().next();
    Map<String, float[]> answers = new LinkedHashMap<>();
    try (OrtSession.Result result = session.run(Collections.singletonMap(name, input))) {
      for (String task : session.getOutputNames()) {
        FloatBuffer values = ((OnnxTensor) result.get(task).get()).getFloatBuffer();
        float[] copy = new float[values.remaining()];
        values.get(copy);
        answers.put(task, copy);
      }
    }
    return answers;
  }
}
